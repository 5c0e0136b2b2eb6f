//! The choices about a plan that the command line makes, as distinct from those it leaves alone.

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use crate::plan::Choices;

/// Choices, and which of them were made on the command line: where a plan stands for a model, there are none to make.
#[derive(Debug, Clone)]
pub struct Chosen {
    choices: Choices,
    /// Flags, in the order of their definition.
    pub given: Vec<String>,
}

impl Chosen {
    /// No choice made.
    ///
    /// # Errors
    /// Never: every choice has a default.
    pub fn none() -> Result<Self, clap::Error> {
        let command = <Choices as clap::Args>::augment_args(clap::Command::new("none"));
        Self::from_arg_matches(&command.try_get_matches_from(["none"])?)
    }
}

impl std::ops::Deref for Chosen {
    type Target = Choices;

    fn deref(&self) -> &Choices {
        &self.choices
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = <Choices as clap::Args>::augment_args(clap::Command::new(""));
        let made = |arg: &&clap::Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let flag = |arg: &clap::Arg| arg.get_long().map(|long| format!("--{long}"));
        let given = all.get_arguments().filter(made).filter_map(flag).collect();
        Ok(Chosen { choices: Choices::from_arg_matches(matches)?, given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Chosen {
    fn augment_args(command: clap::Command) -> clap::Command {
        Choices::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Choices::augment_args_for_update(command)
    }
}
