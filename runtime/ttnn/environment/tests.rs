use super::*;
use crate::test_script::script;

const LATEST: &TtnnRelease = TtnnRelease::latest();

fn nowhere(directory: &Path) -> Search {
    Search { argument: None, variable: None, directory: directory.to_owned(), virtual_env: None, path: Vec::new() }
}

/// An executable that answers the question with `version`, `ttnn` and a libpython directory of its own.
fn fake(directory: &Path, version: (u32, u32), ttnn: Option<&str>, shared: bool) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    if shared {
        std::fs::write(directory.join("libpython.so.1.0"), "").unwrap();
    }
    let answer = serde_json::json!({
        "version": version, "site_packages": directory.join("site"), "ttnn": ttnn,
        "has_venv": true, "library_directories": [directory], "library_names": ["libpython.so.1.0"],
    });
    let path = directory.join("python3");
    script(&path, &format!("echo '{answer}'"));
    path
}

#[test]
fn the_argument_wins_and_is_taken_at_its_word() {
    let dir = tempfile::tempdir().unwrap();
    let good = fake(&dir.path().join("good"), (3, 10), Some(LATEST.version), true);
    let bare = fake(&dir.path().join("bare"), (3, 10), None, true);
    let search = Search { argument: Some(bare), variable: Some(good), ..nowhere(dir.path()) };
    let error = search.run(Wanted::Only(LATEST)).unwrap_err().to_string();
    assert!(error.starts_with("--python ") && error.contains("bitnetc ttnn setup"), "{error}");
}

#[test]
fn the_projects_environment_is_found_from_below() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join(VENV).join("bin");
    let python = fake(&bin, (3, 12), Some(LATEST.version), true);
    std::fs::rename(python, bin.join("python")).unwrap();
    let below = dir.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let env = nowhere(&below).run(Wanted::Only(LATEST)).unwrap();
    assert_eq!(env.executable, bin.join("python"));
    assert_eq!((env.version, env.ttnn.as_str()), ((3, 12), LATEST.version));
}

#[test]
fn unusable_interpreters_on_the_path_are_passed_over_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("old", (3, 9), Some(LATEST.version), true),
        ("static", (3, 10), Some(LATEST.version), false),
        ("bare", (3, 12), None, true),
        ("other", (3, 10), Some("0.70.1"), true),
    ];
    let mut path: Vec<PathBuf> = Vec::new();
    for (name, version, ttnn, shared) in cases {
        fake(&dir.path().join(name), version, ttnn, shared);
        path.push(dir.path().join(name));
    }
    let error = Search { path: path.clone(), ..nowhere(dir.path()) }.run(Wanted::Only(LATEST)).unwrap_err().to_string();
    for part in
        ["is Python 3.9", "has no shared libpython3.10.so", "has no ttnn", "has ttnn 0.70.1, but", "bitnetc ttnn setup"]
    {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    let good = fake(&dir.path().join("good"), (3, 10), Some(LATEST.version), true);
    path.push(dir.path().join("good"));
    assert_eq!(Search { path, ..nowhere(dir.path()) }.run(Wanted::Only(LATEST)).unwrap().executable, good);
}

#[test]
fn any_release_will_do_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let newer = fake(&dir.path().join("newer"), (3, 14), Some("9.9.9"), true);
    let env = PythonEnv::inspect(&newer, Wanted::Any).unwrap();
    assert_eq!(env.ttnn, "9.9.9");
    let version = EnvironmentDefect::Version { version: (3, 14), release: LATEST };
    assert_eq!(PythonEnv::inspect(&newer, Wanted::Only(LATEST)), Err(version.clone()));
    let bare = fake(&dir.path().join("bare"), (3, 14), None, true);
    assert_eq!(PythonEnv::inspect(&bare, Wanted::Any), Err(version));
}

#[test]
fn what_does_not_run_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("python3");
    script(&path, "echo 'pyenv: python3: command not found' >&2; exit 127");
    assert_eq!(
        PythonEnv::inspect(&path, Wanted::Any),
        Err(EnvironmentDefect::DoesNotRun("pyenv: python3: command not found".into()))
    );
    assert_eq!(PythonEnv::inspect(&dir.path().join("none"), Wanted::Any), Err(EnvironmentDefect::Missing));
}
