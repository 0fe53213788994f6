//! Masks as an owner and an installer meet them: signed from Nav2's files, installed beside the
//! policy, and nothing in force without them.

use crate::common::Site;
use std::path::PathBuf;
use std::process::{Command, Output};

fn agent(site: &Site, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nooterra-agent"))
        .arg("--config")
        .arg(site.path("agent.toml"))
        .args(args)
        .output()
        .unwrap()
}

/// Writes a map of 3 by 2 cells with its masks.
fn map(site: &Site) -> PathBuf {
    let write = |name: &str, mode: &str, pixels: &str| {
        std::fs::write(site.path(&format!("{name}.pgm")), format!("P2 3 2 255\n{pixels}")).unwrap();
        let text = format!(
            "image: {name}.pgm\nmode: {mode}\nresolution: 4\norigin: [0, 0, 0]\nnegate: 0\n\
             occupied_thresh: 0.65\nfree_thresh: 0.25\n"
        );
        std::fs::write(site.path(&format!("{name}.yaml")), text).unwrap();
    };
    write("Site-A", "trinary", "254 254 0  254 254 254");
    write("Site-A_keepout", "trinary", "254 254 254  254 0 254");
    write("Site-A_speed", "raw", "0 50 0  20 0 0");
    site.path("Site-A.yaml")
}

fn sign(site: &Site, more: &[&str]) -> Output {
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    let (key, public) = (path("o.pem"), path("owner.pub"));
    if !site.path("o.pem").exists() {
        let keygen = ["policy", "keygen", "--out", &key, "--public", &public];
        assert!(agent(site, &keygen).status.success());
    }
    let (json, cbor) = (path("policy.json"), path("policy.cbor"));
    let sign = ["policy", "sign", &json, "--key", &key, "--out", &cbor];
    agent(site, &[&sign[..], more].concat())
}

fn grids(site: &Site) -> Vec<PathBuf> {
    let files = std::fs::read_dir(site.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut grids: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "grid")).collect();
    grids.sort();
    grids
}

#[test]
fn a_map_and_its_masks_are_signed_and_in_force() {
    let site = Site::new();
    let map = map(&site);
    let signed = sign(&site, &["--map", map.to_str().unwrap(), "--json"]);
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    assert_eq!(grids(&site).len(), 3);
    let policy = site.policy();
    let names: Vec<&str> = policy.zone_ids().iter().map(|id| id.as_str()).collect();
    // After the zones of the document the map, its keep-out mask, and one zone for each limit.
    assert_eq!(
        names[3..],
        ["site-a", "site-a_keepout", "site-a_speed", "site-a_speed", "site-a_speed"]
    );
}

#[test]
fn without_a_masks_file_or_with_another_no_policy_is_in_force() {
    let site = Site::new();
    let map = map(&site);
    assert!(sign(&site, &["--keepout", map.to_str().unwrap()]).status.success());
    let [grid] = &grids(&site)[..] else { panic!("one mask, one file") };
    let mut bytes = std::fs::read(grid).unwrap();
    bytes[12] ^= 1;
    std::fs::write(grid, bytes).unwrap();
    let altered = agent(&site, &["check"]);
    assert_eq!(altered.status.code(), Some(5));
    assert!(
        String::from_utf8_lossy(&altered.stderr).contains("mask `site-a`: its file has SHA-256")
    );
    std::fs::remove_file(grid).unwrap();
    let missing = agent(&site, &["check"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("its file cannot be read"));
}

#[test]
fn a_map_that_makes_no_sense_is_not_signed() {
    let site = Site::new();
    let map = map(&site);
    let before = std::fs::read(site.path("policy.cbor")).unwrap();
    site.edit("Site-A.yaml", "resolution: 4", "resolution: 0");
    let refused = sign(&site, &["--map", map.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`resolution` is `0`"));
    assert_eq!(std::fs::read(site.path("policy.cbor")).unwrap(), before);
    assert!(grids(&site).is_empty());
}
