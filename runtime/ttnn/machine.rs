//! What stands in the way of a real card in this machine, found out before TT-NN is asked for it.
//!
//! TT-NN's driver waits for ever, and ignores Ctrl-C, when another process holds the card; it fails with a stack trace where there is no
//! card, and compiles kernels that do nothing where the compiler is the stand-in for mock cards. All of that can be seen from outside. The
//! findings are plain data, so that each refusal is tested on machines without a card.

use std::path::{Path, PathBuf};

use crate::environment::PythonEnv;
use crate::error::TtnnError;
use crate::setup;

/// Where the kernel module shows each card.
const DEVICES: &str = "/dev/tenstorrent";
const DRIVER: &str = "/proc/driver/tenstorrent";

/// The number that TT-NN gives the first card it sees, which is the one that is opened.
const FIRST: u32 = 0;

/// What was found in a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Cards that the kernel module shows, by number.
    pub cards: Vec<u32>,
    /// The only cards that TT-NN is told to see, from `TT_VISIBLE_DEVICES`; all when empty.
    pub visible: Vec<u32>,
    /// Other processes that hold the card which would be opened.
    pub holders: Vec<Holder>,
    /// A variable that selects something else than a real card, and its value.
    pub not_real: Option<(&'static str, String)>,
    /// The kernel compiler TT-NN would use.
    pub compiler: Compiler,
}

/// A process that holds a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name; empty when it cannot be read.
    pub name: String,
}

/// The kernel compiler that TT-NN finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compiler {
    /// Tenstorrent's SFPI.
    #[default]
    Real,
    /// The stand-in for mock cards, here.
    StandIn(PathBuf),
    /// None; the wheel's own would be here.
    Missing(PathBuf),
}

impl Machine {
    /// This machine, with the compiler that `env`'s TT-NN finds.
    pub fn look(env: &PythonEnv, not_real: &[&'static str]) -> Machine {
        let visible =
            ["TT_VISIBLE_DEVICES", "TT_METAL_VISIBLE_DEVICES"].iter().find_map(|name| std::env::var(name).ok());
        let visible = visible.map(|list| numbers(list.split(','))).unwrap_or_default();
        let cards = numbered(Path::new(DEVICES));
        let opened = opened(&cards, &visible).unwrap_or(FIRST);
        let set = |name: &&'static str| Some((*name, std::env::var_os(name)?.to_string_lossy().into_owned()));
        Machine {
            holders: holders(Path::new(DRIVER), opened, std::process::id()),
            cards,
            visible,
            not_real: not_real.iter().find_map(set),
            compiler: Compiler::of(env),
        }
    }

    /// Whether the card can be opened.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub fn check(&self) -> Result<(), TtnnError> {
        if let Some((variable, value)) = &self.not_real {
            return Err(TtnnError::MockVariable { variable, value: value.clone() });
        }
        if self.cards.is_empty() {
            return Err(TtnnError::NoCard);
        }
        let Some(opened) = opened(&self.cards, &self.visible) else {
            return Err(TtnnError::NoVisibleCard { cards: self.cards.clone(), visible: self.visible.clone() });
        };
        match &self.compiler {
            Compiler::Real => {}
            Compiler::StandIn(path) => return Err(TtnnError::StandInCompiler { path: path.clone() }),
            Compiler::Missing(path) => return Err(TtnnError::NoCompiler { path: path.clone() }),
        }
        if !self.holders.is_empty() {
            return Err(TtnnError::InUse { card: opened, holders: self.holders.clone() });
        }
        Ok(())
    }
}

impl Compiler {
    fn of(env: &PythonEnv) -> Compiler {
        let own = env.wheel_compiler_directory();
        let file = own.join(setup::COMPILER);
        match () {
            () if setup::is_stand_in(&file) => Compiler::StandIn(file),
            () if setup::has_real_compiler(env) => Compiler::Real,
            () => Compiler::Missing(own),
        }
    }
}

/// Other processes that hold the card which a process in this machine would open now.
pub fn holders_now() -> Vec<Holder> {
    let cards = numbered(Path::new(DEVICES));
    holders(Path::new(DRIVER), cards.first().copied().unwrap_or(FIRST), std::process::id())
}

/// Processes for a message: `process 17 (python3), process 18`.
pub fn processes(holders: &[Holder]) -> String {
    let process = |holder: &Holder| match holder.name.is_empty() {
        true => format!("process {}", holder.pid),
        false => format!("process {} ({})", holder.pid, holder.name),
    };
    holders.iter().map(process).collect::<Vec<_>>().join(", ")
}

/// The card that TT-NN calls device 0: the first of those that it sees.
fn opened(cards: &[u32], visible: &[u32]) -> Option<u32> {
    cards.iter().copied().find(|card| visible.is_empty() || visible.contains(card))
}

/// The entries of a folder that are numbers, in order.
fn numbered(folder: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut found = numbers(names.iter().map(String::as_str));
    found.sort_unstable();
    found
}

fn numbers<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u32> {
    texts.filter_map(|text| text.trim().parse().ok()).collect()
}

/// The processes but `own` that the kernel module names as users of a card. A module too old to tell names none.
fn holders(driver: &Path, card: u32, own: u32) -> Vec<Holder> {
    let text = std::fs::read_to_string(driver.join(card.to_string()).join("pids")).unwrap_or_default();
    let mut pids = numbers(text.split_whitespace());
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != own);
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    pids.into_iter().map(|pid| Holder { pid, name: name(pid) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Machine {
        Machine { cards: vec![0], ..Machine::default() }
    }

    fn refusal(machine: &Machine) -> String {
        machine.check().unwrap_err().to_string()
    }

    #[test]
    fn each_obstacle_is_one_error_that_says_what_to_do() {
        ready().check().unwrap();
        let text = refusal(&Machine::default());
        assert!(text.contains("no Tenstorrent card") && text.contains("/dev/tenstorrent") && text.contains("--mock"));
        let text = refusal(&Machine { not_real: Some(("TT_METAL_SIMULATOR", "/x/libttsim.so".into())), ..ready() });
        assert!(text.contains("TT_METAL_SIMULATOR") && text.contains("/x/libttsim.so") && text.contains("unset it"));
        let text = refusal(&Machine { compiler: Compiler::StandIn("/venv/g++".into()), ..ready() });
        assert!(text.contains("/venv/g++ is the stand-in") && text.contains("SFPI"), "{text}");
        let text = refusal(&Machine { compiler: Compiler::Missing("/venv/bin".into()), ..ready() });
        assert!(text.contains("no kernel compiler") && text.contains("SFPI") && text.contains("/venv/bin"), "{text}");
        let holders = vec![Holder { pid: 17, name: "python3".into() }, Holder { pid: 18, name: String::new() }];
        let text = refusal(&Machine { holders, ..ready() });
        assert!(text.contains("process 17 (python3)") && text.contains("process 18") && text.contains("end"), "{text}");
        let text = refusal(&Machine { cards: vec![0, 1], visible: vec![4], ..Machine::default() });
        assert!(text.contains("TT_VISIBLE_DEVICES") && text.contains('4') && text.contains("0, 1"), "{text}");
    }

    #[test]
    fn holders_are_the_other_processes_of_the_card_that_is_opened() {
        let driver = tempfile::tempdir().unwrap();
        for (card, pids) in [("0", "12\n7\n7\n"), ("1", ""), ("2", "5 6\n")] {
            std::fs::create_dir(driver.path().join(card)).unwrap();
            std::fs::write(driver.path().join(card).join("pids"), pids).unwrap();
        }
        let pids = |card: u32, own: u32| holders(driver.path(), card, own).iter().map(|h| h.pid).collect::<Vec<_>>();
        assert_eq!(pids(0, 12), [7]);
        assert_eq!(pids(0, 1), [7, 12]);
        assert_eq!(pids(1, 1), [0u32; 0]);
        assert_eq!(pids(2, 1), [5, 6]);
        assert_eq!(pids(3, 1), [0u32; 0]);
        assert_eq!(numbered(driver.path()), [0, 1, 2]);
        assert_eq!(
            (opened(&[0, 1, 2], &[]), opened(&[0, 1, 2], &[2, 1]), opened(&[0], &[3])),
            (Some(0), Some(1), None)
        );
    }

    #[test]
    fn a_process_is_named() {
        let driver = tempfile::tempdir().unwrap();
        std::fs::create_dir(driver.path().join("0")).unwrap();
        std::fs::write(driver.path().join("0/pids"), std::process::id().to_string()).unwrap();
        let found = holders(driver.path(), 0, 0);
        assert_eq!(found.len(), 1);
        assert!(!found[0].name.is_empty());
    }
}
