use super::*;

fn read(toml: &str) -> Result<Mapping, String> {
    toml::from_str(toml).map_err(|e| e.to_string())
}

#[test]
fn toml_replaces_one_field_and_keeps_the_preset_of_the_others() {
    let mapping = read(r#"campaign_id = ["c.i.d"]"#).unwrap();
    assert_eq!(mapping, Mapping { campaign_id: vec!["c.i.d".into()], ..Mapping::default() });
    let mapping = read(r#"accounts = [{ list = "people", account = "id", default_platform = "acme" }]"#).unwrap();
    let accounts = vec![AccountPaths { list: Some("people".into()), ..AccountPaths::on("id", "acme") }];
    assert_eq!(mapping, Mapping { accounts, ..Mapping::default() });
    assert_eq!(read("").unwrap(), Mapping::default());
}

#[test]
fn unknown_fields_are_mistakes() {
    for toml in [r#"campaing_id = ["pid"]"#, r#"accounts = [{ acount = "x" }]"#, r#"accounts = [{ platform = "x" }]"#] {
        assert!(read(toml).is_err(), "{toml}");
    }
}

#[test]
fn the_preset_is_sound_and_prints_as_what_it_reads() {
    let preset = Mapping::default();
    assert_eq!(preset.problems(), []);
    let json = serde_json::to_string(&preset).unwrap();
    assert_eq!(serde_json::from_str::<Mapping>(&json).unwrap(), preset);
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(members.len(), Mapping::FIELDS.len());
    for (name, doc) in Mapping::FIELDS {
        assert!(members.contains_key(*name) && doc.ends_with('.') && !doc.starts_with(' '), "{name}: {doc:?}");
    }
}

#[test]
fn every_malformed_candidate_is_named_with_its_field() {
    let deep = ["a"; Path::SEGMENTS_MAX + 1].join(".");
    let long = "a".repeat(Path::BYTES_MAX + 1);
    for bad in ["", ".", "a.", ".a", "a..b", "a. b", "a[0]", "/a", "a\\b", &deep, &long] {
        let mapping = Mapping { points: vec!["fine".into(), bad.into()], ..Mapping::default() };
        let problems = mapping.problems();
        assert_eq!(problems.len(), 1, "{bad:?}");
        assert_eq!(problems[0].0, "points");
        assert!(problems[0].1.len() < 200);
        assert!(mapping.points[1].segments().is_empty());
    }
    let accounts = vec![AccountPaths::on("wallet", "a:b"), AccountPaths::each("a..b", "c", "d"), AccountPaths::on("wallet", "")];
    assert_eq!(Mapping { accounts, ..Mapping::default() }.problems().len(), 3);
    assert_eq!(Mapping { referral_scopes: vec!["$x".into()], ..Mapping::default() }.problems().len(), 1);
    assert_eq!(Mapping { name: vec!["a".into(); Mapping::CANDIDATES_MAX + 1], ..Mapping::default() }.problems().len(), 1);
}
