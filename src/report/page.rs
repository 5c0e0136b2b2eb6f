//! A page put together: the skeleton, its style, its scripts and the data.
//!
//! Names in a plan are whatever its author wrote. They cannot become markup or script: the data is a JSON block in which no `<` is left, the
//! scripts make text nodes of it, and the page's content security policy lets nothing run or load but the style and the script of this
//! file, which it knows by their hashes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use miette::miette;
use sha2::{Digest as _, Sha256};

/// The pages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// A plan.
    Plan,
    /// The differences between two plans.
    Difference,
}

const SKELETON: &str = include_str!("page/page.html");
const STYLE: &str = concat!(include_str!("page/base.css"), include_str!("page/plan.css"));
const PLAN: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/plan.js"),
    include_str!("page/strips.js"),
    include_str!("page/l1.js"),
    include_str!("page/graph.js"),
    include_str!("page/cores.js"),
    include_str!("page/table.js"),
    include_str!("page/step.js"),
    include_str!("page/start.js"),
);
const DIFFERENCE: &str = concat!(include_str!("page/base.js"), include_str!("page/difference.js"));

/// The page with its data.
///
/// # Errors
/// When the skeleton lacks a place: a defect of bitnetc.
pub fn assemble(page: Page, json: &str) -> miette::Result<String> {
    let script = match page {
        Page::Plan => PLAN,
        Page::Difference => DIFFERENCE,
    };
    // The browser hashes all that stands between the tags.
    let (style, script) = (format!("\n{STYLE}"), format!("\n{script}"));
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        hash(&style),
        hash(&script)
    );
    let mut text = String::with_capacity(SKELETON.len() + style.len() + script.len() + json.len());
    let mut rest = SKELETON;
    for (place, content) in
        [("{policy}", policy), ("{style}", style), ("{data}", in_script(json)), ("{script}", script)]
    {
        let (before, after) = rest.split_once(place).ok_or_else(|| miette!("the page has no place for {place}"))?;
        text.push_str(before);
        text.push_str(&content);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// JSON that can stand between script tags: characters that could end it, or that only JSON takes for text, are written as escapes. They
/// occur in strings alone.
fn in_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_data() {
        let name = "</script><script>alert(1)</script><!-- & \u{2028}";
        let json = serde_json::to_string(&[name]).unwrap();
        let safe = in_script(&json);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [name]);
        let page = assemble(Page::Plan, &json).unwrap();
        assert!(!page.contains("alert(1)<"), "only as data");
    }

    #[test]
    fn a_page_is_alone() {
        for page in [Page::Plan, Page::Difference] {
            let text = assemble(page, "{}").unwrap();
            // Namespaces are names, not addresses.
            let bare = text.replace("http://www.w3.org/2000/svg", "");
            for word in ["http:", "https:", "src=", "@import", "url(", "innerHTML", "outerHTML", "eval("] {
                assert!(!bare.contains(word), "{page:?}: {word}");
            }
        }
    }
}
