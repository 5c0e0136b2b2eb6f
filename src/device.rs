//! Which device a plan runs on: the host, or TT-NN on a card, a simulator or a mock.

use std::path::PathBuf;

use bitnetc_plan::{Plan, TtnnRelease, VerifiedPlan};
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::{Device, HostDevice};
use bitnetc_ttnn::{CardKind, CardOptions, MockCard, PythonEnv, Simulator, Sink, TtnnDevice, Wanted};
use clap::ValueEnum;
use miette::{IntoDiagnostic as _, miette};

use crate::load::NumericsChoice;
use crate::supervise::Patience;

/// Seconds that a call may take on a card: the first one of its kind is compiled, which takes up to a minute.
const LONGEST_CALL: u32 = 300;

/// The choice of the device that executes the plan.
#[derive(Debug, Clone, clap::Args)]
pub struct DeviceChoice {
    /// The device that executes the plan
    #[arg(long, value_enum, default_value_t = DeviceKind::Host)]
    device: DeviceKind,
    /// With --device ttnn: a mock of the plan's card instead of a card; it accepts or refuses every call and computes nothing
    #[arg(long)]
    mock: bool,
    /// With --device ttnn: Tenstorrent's simulator (its libttsim for the plan's chip family) instead of a card
    #[arg(long, value_name = "LIB", conflicts_with = "mock")]
    simulator: Option<PathBuf>,
    /// With --device ttnn: command queues; with 2, copies between host and card are on a queue of their own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2))]
    queues: Option<u32>,
    /// With --device ttnn: the Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// With --device ttnn: seconds after which a call that has not come back is taken for a hang; 0 waits for ever [default: 300, with
    /// --simulator 0]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

/// The devices there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// This machine's processor, with the numerics of the card
    Host,
    /// The real TT-NN
    Ttnn,
}

impl DeviceChoice {
    /// How TT-NN is to be watched; `None` on the host.
    pub fn supervised(&self) -> Option<Patience> {
        match self.device {
            DeviceKind::Host => None,
            DeviceKind::Ttnn => {
                let usual = if self.simulator.is_some() { 0 } else { LONGEST_CALL };
                Some(Patience::of(self.timeout.unwrap_or(usual)))
            }
        }
    }

    /// Opens the device for `plan`.
    ///
    /// # Errors
    /// Options that do not go together; no TT-NN, no card, another card than the plan's.
    pub fn open(&self, plan: &VerifiedPlan, numerics: Numerics) -> miette::Result<Box<dyn Device>> {
        self.open_measured(plan, numerics, None)
    }

    /// As [`DeviceChoice::open`], with a profile that is in `profile` once the device is closed.
    ///
    /// # Errors
    /// As there, and a profile of the host device.
    pub fn open_measured(
        &self,
        plan: &VerifiedPlan,
        numerics: Numerics,
        profile: Option<&Sink>,
    ) -> miette::Result<Box<dyn Device>> {
        match self.device {
            DeviceKind::Host if profile.is_some() => {
                Err(miette!(help = "add --device ttnn", "--profile is for the TT-NN device"))
            }
            DeviceKind::Host => Ok(Box::new(self.host(plan, numerics)?)),
            DeviceKind::Ttnn => {
                let release = TtnnRelease::find(&plan.release).into_diagnostic()?;
                let env = PythonEnv::find(self.python.as_deref(), Wanted::Only(release)).into_diagnostic()?;
                let kind = self.card(plan).into_diagnostic()?;
                let options = CardOptions { command_queues: self.queues.unwrap_or(1), ..CardOptions::default() };
                let mut device = TtnnDevice::open(&env, kind, options, plan).into_diagnostic()?;
                if let Some(sink) = profile {
                    device.profile(plan, Sink::clone(sink)).into_diagnostic()?;
                }
                Ok(Box::new(device))
            }
        }
    }

    /// Whether the plan runs on the host.
    pub fn is_host(&self) -> bool {
        self.device == DeviceKind::Host
    }

    /// The host device for `plan`.
    ///
    /// # Errors
    /// Options of the TT-NN device.
    pub fn host(&self, plan: &Plan, numerics: Numerics) -> miette::Result<HostDevice> {
        let of_ttnn = [
            ("--mock", self.mock),
            ("--simulator", self.simulator.is_some()),
            ("--queues", self.queues.is_some()),
            ("--python", self.python.is_some()),
            ("--timeout", self.timeout.is_some()),
        ];
        match of_ttnn.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(miette!(help = "add --device ttnn", "{flag} is for the TT-NN device")),
            None => Ok(HostDevice::new(plan.card.arch, numerics)),
        }
    }

    /// The numerics of what the device computes of `plan`, for the last line of a command.
    pub fn numerics(&self, choice: NumericsChoice, plan: &Plan) -> String {
        match self.device {
            DeviceKind::Host => choice.named(plan),
            DeviceKind::Ttnn if self.mock => "nothing computed: a mock".into(),
            DeviceKind::Ttnn => "TT-NN's kernels".into(),
        }
    }

    fn card(&self, plan: &Plan) -> Result<CardKind, bitnetc_ttnn::TtnnError> {
        match &self.simulator {
            Some(library) => Simulator::new(library, plan.card.arch).map(CardKind::Simulator),
            None if self.mock => MockCard::of(&plan.card).map(CardKind::Mock),
            None => Ok(CardKind::Real),
        }
    }
}
