//! A conversation: every line of stdin is a turn, answered with all that was said before.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use bitnetc_runtime::{Device, GenerateOptions, Session};
use miette::{IntoDiagnostic, WrapErr as _, miette};

use crate::answer::{Spent, answer};
use crate::run::show;
use crate::template::Message;
use crate::text::Text;

/// Talks until stdin ends, Ctrl-C, or a stdout that nobody reads; `messages` are what was said before, `first` turns that were given on
/// the command line. Returns what it took.
///
/// # Errors
/// Whatever the template or the plan's steps refuse; a turn that does not fit the context by itself.
pub fn talk(
    session: &mut Session<Box<dyn Device>>,
    text: &Text,
    mut messages: Vec<Message>,
    first: Vec<String>,
    (options, stops): (&GenerateOptions<'_>, &[String]),
) -> miette::Result<Spent> {
    let mut spent = Spent::default();
    let mut first = first.into_iter();
    let interrupted = || options.interrupted.load(std::sync::atomic::Ordering::Relaxed);
    while !interrupted() {
        let Some(turn) = first.next().map_or_else(turn, |turn| Ok(Some(turn)))? else { break };
        if turn.trim().is_empty() {
            continue;
        }
        messages.push(Message { role: "user", content: turn });
        let tokens = fitting(text, &mut messages, session.context())?;
        let mut read = true;
        let (answers, took) = answer(session, text, &[tokens], &[], (options, stops), |_, new| {
            read = show(new)?;
            Ok(read)
        })?;
        spent.add(took);
        messages.extend(answers.into_iter().map(|answer| Message { role: "assistant", content: answer.text }));
        if !(read && show("\n")?) {
            break;
        }
    }
    Ok(spent)
}

/// The next line, asked for on a terminal; none at the end.
fn turn() -> miette::Result<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // A terminal that takes no prompt takes no harm.
        let _ = write!(std::io::stderr(), "> ").and_then(|()| std::io::stderr().flush());
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line).into_diagnostic().wrap_err("cannot read a turn from stdin")?;
    Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_string()))
}

/// The conversation's tokens; the oldest turns are left out as far as the context asks for it, with room for an answer of an eighth.
fn fitting(text: &Text, messages: &mut Vec<Message>, context: usize) -> miette::Result<Vec<u32>> {
    loop {
        let tokens = text.conversation(messages)?;
        if tokens.len() + context / 8 <= context {
            return Ok(tokens);
        }
        let oldest = messages.iter().position(|message| message.role != "system").unwrap_or(0);
        // A turn and its answer go together; the last turn is what is asked.
        if oldest + 2 >= messages.len() {
            if tokens.len() <= context {
                return Ok(tokens);
            }
            let help = "shorten it, or plan with a larger --context";
            return Err(miette!(help = help, "{} tokens; the plan's context is {context}", tokens.len()));
        }
        messages.drain(oldest..oldest + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_turns_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/counting/tokenizer.json");
        std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
        let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        let text = Text::open(folder.path()).unwrap();
        let message = |role, content: &str| Message { role, content: content.into() };
        let mut messages = vec![
            message("system", "S"),
            message("user", "abcdefgh"),
            message("assistant", "ijklmnop"),
            message("user", "q"),
            message("assistant", "r"),
            message("user", "s"),
        ];
        assert_eq!(fitting(&text, &mut messages, 24).unwrap().len(), 20);
        assert_eq!(fitting(&text, &mut messages, 16).unwrap().len(), 4);
        assert_eq!(messages.iter().map(|m| m.content.as_str()).collect::<String>(), "Sqrs");
        messages.last_mut().unwrap().content = "a".repeat(20);
        assert!(fitting(&text, &mut messages, 16).unwrap_err().to_string().contains("the plan's context is 16"));
    }
}
