//! The pages of `inspect --html` and `diff --html`, in a browser and as files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

mod browser;
#[path = "../common/mod.rs"]
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use browser::Browser;
use common::{bitnetc, refused, stdout};
use serde_json::Value;

/// A plan of the small model in a folder; its path.
fn plan(folder: &Path, name: &str, options: &[&str]) -> String {
    let path = folder.join(name).to_str().unwrap().to_owned();
    let prefill: &[&str] = if options.contains(&"--prefill") { &[] } else { &["--prefill", "32"] };
    stdout(&[&["plan", "tiny-shakespeare", "-o", &path], prefill, options].concat());
    path
}

/// The page of a plan.
fn page(folder: &Path, plan: &str) -> PathBuf {
    let file = folder.join("page.html");
    stdout(&["inspect", plan, "--html", file.to_str().unwrap()]);
    file
}

/// Microseconds as a page shows them.
fn time(us: f64) -> String {
    if us < 999.95 { format!("{us:.1} us") } else { format!("{:.2} ms", us / 1e3) }
}

/// Calls among the steps of a phase, deallocations left out.
fn calls(phase: &Value) -> Vec<&Value> {
    phase["steps"].as_array().unwrap().iter().filter(|step| step["call"] != "ttnn.deallocate").collect()
}

#[test]
fn a_page_has_the_plans_numbers_and_its_parts_are_linked() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "a.plan", &["--batch", "4"]);
    let document: Value = serde_json::from_str(&stdout(&["inspect", &plan, "--json"])).unwrap();
    let file = page(folder.path(), &plan);
    let mut browser = Browser::start();
    browser.open(&file, "");
    for (number, phase) in document["phases"].as_array().unwrap().iter().enumerate() {
        browser.value(&format!("document.querySelectorAll('#phases button')[{number}].click()"));
        let tab = browser.text(&format!("document.querySelectorAll('#phases button')[{number}].textContent"));
        let us = phase["predicted_us"].as_f64().unwrap();
        assert!(tab.contains(&time(us)) && tab.contains(&format!("{} programs", phase["programs"])), "{tab}");
        let calls = calls(phase);
        let rows = "document.querySelectorAll('#steps tbody tr').length";
        assert_eq!(browser.number(rows) as usize, calls.len());
        let sum = browser.text("document.querySelector('#steps tfoot tr').cells[4].textContent");
        let layers = document["model"]["layers"].as_f64().unwrap();
        let times = |step: &Value| if step["section"] == "layer" { layers } else { 1.0 };
        let all = calls.iter().map(|step| times(step) * step["predicted"]["us"].as_f64().unwrap()).sum();
        assert_eq!(sum, time(all));
        let programs = calls.iter().filter(|step| step["programs"].as_u64().unwrap() > 0).count();
        assert_eq!(browser.number("document.querySelectorAll('#strips .hit').length") as usize, programs);
        // The costliest step is chosen at first, whose section may be another.
        browser.value("document.querySelector('#steps tr[data-step=qkv]').dispatchEvent(new MouseEvent('click', {bubbles: true}))");
        let in_layer = calls.iter().filter(|step| step["section"] == "layer").count();
        assert_eq!(browser.number("document.querySelectorAll('#graph .card[data-step]').length") as usize, in_layer);
    }
    linked(&mut browser);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// A step chosen anywhere is chosen everywhere.
fn linked(browser: &mut Browser) {
    let chosen = "['#steps tr.chosen', '#graph .card.chosen', '#step h2', '#precision tr.chosen'].map(at => { \
                  const part = document.querySelector(at); return part && (part.dataset.step ?? part.textContent) }).join()";
    browser.value("document.querySelector('#phases button').click()");
    let click =
        |at: &str| format!("document.querySelector('{at}').dispatchEvent(new MouseEvent('click', {{bubbles: true}}))");
    browser.value(&click("#graph .card[data-step=down]"));
    assert_eq!(browser.text(chosen), "down,down,down,down");
    assert_eq!(browser.text("location.hash"), "#decode/down");
    let why = browser.text("document.querySelector('#step').textContent");
    assert!(why.contains("legal ways in all") && why.contains("bfp4 holds ternary weights exactly"), "{why}");
    assert!(browser.number("document.querySelectorAll('#cores .cell.l1').length") > 0.0);
    browser.value(&click("#steps tr[data-step=gate]"));
    assert!(browser.text(chosen).starts_with("gate,gate,gate"));
    browser.press("ArrowRight");
    assert!(browser.text(chosen).starts_with("up,up,up"));
    browser.value(&click("#strips .hit[data-step=qkv]"));
    assert!(browser.text(chosen).starts_with("qkv,qkv,qkv"));
    // A step of another section brings its graph.
    browser.value(&click("#steps tr[data-step=normed]"));
    assert!(browser.text(chosen).starts_with("normed,normed,normed"));
    // Choosing an operand shows where that lies.
    browser.value(&click("#step dd .link"));
    assert_eq!(browser.number("document.querySelectorAll('#graph .port.chosen').length"), 1.0);
    browser.value("{ const box = document.querySelector('#steps input'); box.value = 'linear bfp4'; box.dispatchEvent(new Event('input')) }");
    let shown = browser.number("document.querySelectorAll('#steps tbody tr').length");
    let all = browser.text("document.querySelector('#steps header .soft').textContent");
    assert!(shown >= 4.0 && all.starts_with(&format!("{shown} of ")), "{all}");
    browser.press("Escape");
    assert!(browser.number("document.querySelectorAll('#steps tbody tr').length") > shown);
    browser.press("]");
    assert!(browser.text("location.hash").starts_with("#prefill-32/"));
    for theme in ["dark", "light"] {
        browser.tell(
            "Emulation.setEmulatedMedia",
            serde_json::json!({"features": [{"name": "prefers-color-scheme", "value": theme}]}),
        );
        // The page is told a moment later.
        let next = format!(
            "new Promise(tell => {{ let looks = 0; const look = () => {{ const is = document.documentElement.dataset.theme; \
             is === '{theme}' || ++looks > 100 ? tell(is) : setTimeout(look, 50) }}; look() }})"
        );
        assert_eq!(browser.text(&next), theme);
    }
}

/// The plan under another model's digest: bitnetc does not know the model.
fn foreign(plan: &str) {
    let text = std::fs::read_to_string(plan).unwrap();
    let at = text.find("digest: \"").unwrap() + 9;
    std::fs::write(plan, format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])).unwrap();
}

#[test]
fn names_of_a_plan_are_text_and_a_plan_of_an_unknown_model_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "a.ron", &["--prefill", "none"]);
    foreign(&plan);
    let text = std::fs::read_to_string(&plan).unwrap();
    let name = "</script><img src=x onerror=alert(1)><!--";
    let from = text.find("name: \"").unwrap() + 7;
    let end = from + text[from..].find('"').unwrap();
    let hostile = format!("{}{name}{}", &text[..from], &text[end..]).replace("\"attn_norm\"", "\"<b>attn_norm</b>\"");
    std::fs::write(&plan, hostile).unwrap();
    let file = page(folder.path(), &plan);
    let mut browser = Browser::start();
    browser.open(&file, "#decode/%3Cb%3Eattn_norm%3C%2Fb%3E");
    assert!(browser.text("document.title").starts_with(name));
    assert_eq!(browser.number("document.querySelectorAll('img, #step b').length"), 0.0);
    assert_eq!(browser.text("document.querySelector('#step h2').textContent"), "<b>attn_norm</b>");
    let notice = browser.text("document.querySelector('.notice').textContent");
    assert!(notice.contains("no decisions") && notice.contains("--model"), "{notice}");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn a_difference_is_drawn_with_its_effect() {
    let folder = tempfile::tempdir().unwrap();
    let a = plan(folder.path(), "a.plan", &[]);
    let b = plan(folder.path(), "b.plan", &["--set", "down=bfp8/HiFi4/fp32", "--proofs", "none"]);
    let file = folder.path().join("difference.html");
    let out = bitnetc(&["diff", &a, &b, "--html", file.to_str().unwrap()]);
    assert_eq!((out.status.code(), out.stdout.len()), (Some(1), 0), "{}", String::from_utf8_lossy(&out.stderr));
    let document: Value = serde_json::from_slice(&bitnetc(&["diff", &a, &b, "--json"]).stdout).unwrap();
    let mut browser = Browser::start();
    browser.open(&file, "");
    for (number, phase) in document["phases"].as_array().unwrap().iter().enumerate() {
        let rows = format!(
            "document.querySelectorAll('.phase')[{number}].querySelectorAll('table:last-of-type tbody tr').length"
        );
        assert_eq!(browser.number(&rows) as usize, phase["steps"].as_array().unwrap().len());
        let effect =
            browser.text(&format!("document.querySelectorAll('#effects tbody tr')[{}].textContent", 3 * number));
        let us = |at: usize| time(phase["predicted_us"][at].as_f64().unwrap());
        let band = |plan: usize| {
            let [least, most] = [0, 1].map(|end| time(phase["predicted_band_us"][plan][end].as_f64().unwrap()));
            format!("{} ({least} to {most})", us(plan))
        };
        assert!(effect.contains(&band(0)) && effect.contains(&band(1)), "{effect}");
    }
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn a_page_goes_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "a.ron", &["--prefill", "none"]);
    let file = folder.path().join("page.html");
    std::fs::write(&file, "before").unwrap();
    page(folder.path(), &plan);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written.starts_with("<!doctype html>") && written.ends_with("</html>\n"),
        "a file that is there is replaced"
    );
    assert!(
        stdout(&["plan", "tiny-shakespeare", "--prefill", "none", "--html", "-"]) == written,
        "the same, byte for byte"
    );
    assert!(
        refused(&["inspect", &plan, "--html", "-", "--model", "bitnet-2b-4t"], 1).contains("is not the plan's model")
    );
    foreign(&plan);
    assert!(refused(&["inspect", &plan, "--html", "/dev/full"], 1).contains("cannot write /dev/full"));
    assert!(refused(&["inspect", &plan, "--html", "/nowhere/a.html"], 1).contains("cannot write /nowhere/a.html"));
    assert!(refused(&["inspect", &plan, "--html", "-", "--open"], 1).contains("a browser cannot read stdout"));
    for option in ["--json", "--memory", "--phase=decode", "--layer=0"] {
        refused(&["inspect", &plan, "--html", "-", option], 2);
    }
    refused(&["inspect", &plan, "--model", "tiny-shakespeare"], 2);
    refused(&["diff", &plan, &plan, "--html", "-", "--json"], 2);
}

/// `--open` hands the page to the desktop; without `--html` the page is a file of its own.
#[test]
fn a_page_is_shown_in_the_browser() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "a.ron", &["--prefill", "none"]);
    foreign(&plan);
    let [opener, told] = ["xdg-open", "told"].map(|name| folder.path().join(name));
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" > {0}.part && mv {0}.part {0}\n", told.display())).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    let out =
        command.args(["inspect", &plan, "--open"]).env("PATH", path).env("TMPDIR", folder.path()).output().unwrap();
    assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
    let until = Instant::now() + Duration::from_secs(20);
    while !told.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let shown = std::fs::read_to_string(&told).unwrap();
    assert!(String::from_utf8(out.stderr).unwrap().starts_with(&format!("{}: ", shown.trim_end())));
    assert!(std::fs::read_to_string(shown.trim_end()).unwrap().starts_with("<!doctype html>"));
}
