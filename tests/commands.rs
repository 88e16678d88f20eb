//! The command line as scripts and people rely on it: what is said, where, and with what status.

use std::path::Path;
use std::process::{Command, Output};

fn cleat(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cleat")).args(arguments).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A scratch directory with a file `c.toml` of this text, in which `DIR` is the directory.
fn scratch(text: &str) -> (tempfile::TempDir, String) {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("c.toml");
    let text = text.replace("DIR", &scratch.path().display().to_string());
    std::fs::write(&file, text).expect("a file");
    let name = file.display().to_string();
    (scratch, name)
}

#[test]
fn version_and_help_end_with_0() {
    let version = cleat(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(stdout(&version), format!("cleat {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["locks", "--help"],
        &["locks", "clear", "--help"],
        &["clients", "--help"],
        &["status", "--help"],
        &["grace", "end", "--help"],
    ] {
        let help = cleat(arguments);
        assert_eq!(help.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&help).contains("Usage: cleat"), "{arguments:?}");
    }
}

#[test]
fn every_flag_of_the_contract_is_in_the_help() {
    let help = stdout(&cleat(&["serve", "--help"]));
    for flag in [
        "--config <FILE>",
        "--export <DIR[:OPTIONS]>",
        "--listen <ADDR[:PORT]>",
        "--state-dir <DIR>",
        "--grace-s <SECONDS>",
        "--recovery <strict|instant>",
        "--unreachable-hold-s <SECONDS>",
        "--client-lease-s <SECONDS>",
        "--durability <process|power>",
        "--rpcbind <auto|system|embedded|off>",
        "--log <LEVEL>",
    ] {
        assert!(help.contains(flag), "{flag}\n{help}");
    }
}

#[test]
fn a_bad_flag_is_one_clear_line_and_status_2() {
    let table: [(&[&str], &str); 11] = [
        (&[], "cleat: no command; see cleat --help"),
        (&["srve"], "cleat: unrecognized subcommand 'srve'; see cleat --help"),
        (
            &["serve", "--exprt", "/"],
            "cleat: unexpected argument '--exprt' found; see cleat --help",
        ),
        (
            &["serve", "--grace-s"],
            "cleat: a value is required for '--grace-s <SECONDS>' but none was supplied; see cleat \
             --help",
        ),
        (
            &["check"],
            "cleat: the following required arguments were not provided: <FILE>; see cleat --help",
        ),
        (
            &["serve"],
            "export (default): nothing to serve; give --export DIR, or [[export]] in a file",
        ),
        (
            &["serve", "--export", "/usr", "--grace-s", "-1"],
            "--grace-s: \"-1\" is not from 1 to 3600; write seconds, as 90",
        ),
        (
            &["serve", "--export", "/usr", "--durability", "fast"],
            "--durability: \"fast\" is not a durability; write process or power",
        ),
        (
            &["serve", "--export", "/usr", "--rpcbind", "on"],
            "--rpcbind: \"on\" is no way to use rpcbind; write auto, system, embedded or off",
        ),
        (
            &["serve", "--export", "/usr:rw,fsid=0"],
            "--export: \"fsid=0\" is not an option here; leave it out: handles need no number from \
             you",
        ),
        (
            &["serve", "--export", "/usr", "--listen", "here"],
            "--listen: \"here\" is no address to listen on; write *:2049, 192.0.2.1:2049 or \
             [2001:db8::1]:2049",
        ),
    ];
    for (arguments, line) in table {
        let output = cleat(arguments);
        assert_eq!(stderr(&output), format!("{line}\n"), "{arguments:?}");
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_bad_flag_is_told() {
    let output = cleat(&["serve", "--export", "/nonexistent", "--rpcbind", "x", "--log", "y"]);
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(2), 3));
}

#[test]
fn check_ends_with_0_where_there_is_no_mistake() {
    let (_scratch, file) = scratch("[[export]]\npath = \"DIR\"\nclients = { \"*\" = \"ro\" }\n");
    let output = cleat(&["check", &file]);
    assert_eq!(stdout(&output), format!("{file}: no mistakes\n"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn check_tells_each_mistake_with_file_and_line() {
    let (_scratch, file) = scratch(
        "grace_s = 0\n[[export]]\npath = \"DIR/none\"\nclients = { \"*\" = \"rw,async\" }\n",
    );
    let output = cleat(&["check", &file]);
    let told = stdout(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(2), 3), "{told}");
    for (line, place) in
        lines.iter().zip(["1: grace_s: ", "3: export.path: ", "4: export.clients: "])
    {
        assert!(line.starts_with(&format!("{file}:{place}")), "{line}");
    }
}

#[test]
fn check_of_no_file_is_a_mistake() {
    let output = cleat(&["check", "/nonexistent"]);
    assert!(stdout(&output).starts_with("/nonexistent: cannot be read: "));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_example_of_the_readme_has_no_mistakes() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.expect("an example").replace("/srv/", "DIR/");
    let (scratch, file) = scratch(&example.replace("/var/lib/", "DIR/"));
    for name in ["data", "scratch"] {
        std::fs::create_dir(scratch.path().join(name)).expect(name);
    }
    let output = cleat(&["check", &file]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), format!("{file}: no mistakes\n"))
    );
}
