//! What the templates people write in scripts must print.

use serde_json::{Value, json};

use super::Template;

fn show(template: &str, value: &Value) -> String {
    match Template::parse(template).and_then(|template| template.execute(value)) {
        Ok(text) => text,
        Err(err) => format!("ERROR {err}"),
    }
}

fn container() -> Value {
    json!({
        "Id": "abc", "Name": "/web",
        "State": {"Status": "running", "Running": true, "ExitCode": 0, "Health": null},
        "Config": {"Env": ["A=1", "B=<2>"], "Labels": {"com.x": "y"}},
        "NetworkSettings": {
            "Networks": {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": "10.0.0.1"}},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null}
        }
    })
}

#[test]
fn fields_and_chains_print_as_go_prints_them() {
    let c = container();
    assert_eq!(show("{{.State.Status}}", &c), "running");
    assert_eq!(show("{{ .State.Running }}/{{.State.ExitCode}}", &c), "true/0");
    assert_eq!(show("{{.Config.Env}}", &c), "[A=1 B=<2>]");
    assert_eq!(show("{{.Config.Labels}}", &c), "map[com.x:y]");
    assert_eq!(show("{{.State.Health}}", &c), "<no value>");
}

#[test]
fn ranges_walk_maps_in_key_order_and_lists_with_index() {
    let c = container();
    let all = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    assert_eq!(show(all, &c), "10.0.0.1 10.0.0.2 ");
    let keyed = "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}";
    assert_eq!(show(keyed, &c), "a=10.0.0.1;b=10.0.0.2;");
    assert_eq!(show("{{range $i, $e := .Config.Env}}{{$i}}:{{$e}},{{end}}", &c), "0:A=1,1:B=<2>,");
    assert_eq!(show("{{range .State.Health}}x{{else}}none{{end}}", &c), "none");
}

#[test]
fn the_published_port_idiom_works() {
    let idiom = r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#;
    assert_eq!(show(idiom, &container()), "8080");
    let loops = r#"{{range $p, $conf := .NetworkSettings.Ports}}{{if $conf}}{{$p}} -> {{(index $conf 0).HostPort}}{{end}}{{end}}"#;
    assert_eq!(show(loops, &container()), "80/tcp -> 8080");
}

#[test]
fn conditions_and_comparisons_choose_branches() {
    let c = container();
    assert_eq!(show("{{if .State.Running}}up{{else}}down{{end}}", &c), "up");
    assert_eq!(show(r#"{{if eq .State.Status "exited" "running"}}y{{end}}"#, &c), "y");
    assert_eq!(
        show("{{if .State.Health}}h{{else if gt (len .Config.Env) 1}}two{{end}}", &c),
        "two"
    );
    assert_eq!(show("{{if and .State.Running (not .State.Health)}}ok{{end}}", &c), "ok");
    assert_eq!(show("{{with .Config}}{{index .Labels \"com.x\"}}{{end}}", &c), "y");
}

#[test]
fn functions_and_pipelines_compose() {
    let c = container();
    assert_eq!(show("{{json .Config.Env}}", &c), r#"["A=1","B=\u003c2\u003e"]"#);
    assert_eq!(show("{{.Config.Labels | json}}", &c), r#"{"com.x":"y"}"#);
    assert_eq!(show(r#"{{join .Config.Env ", "}}"#, &c), "A=1, B=<2>");
    assert_eq!(show("{{.Name | upper | printf \"%-6s|\"}}", &c), "/WEB  |");
    assert_eq!(show("{{slice .Name 1}} {{truncate .Name 2}} {{title .Id}}", &c), "web /w Abc");
    assert_eq!(show("{{println .Id 3}}", &c), "abc 3\n");
    assert_eq!(show(r#"{{index (split .Name "/") 1}}"#, &c), "web");
}

#[test]
fn trimming_comments_and_variables_are_understood() {
    let c = container();
    assert_eq!(show("a {{- /* c */ -}} b", &c), "ab");
    assert_eq!(show("a {{- .Id -}} b", &c), "aabcb");
    assert_eq!(show("{{$x := .Id}}{{$x}}-{{$.Name}}", &c), "abc-/web");
}

#[test]
fn errors_say_what_and_where() {
    let c = container();
    assert_eq!(show("{{.Id", &c), "ERROR template: :1: unclosed action");
    assert_eq!(show("{{foo .Id}}", &c), "ERROR template: :1: function \"foo\" not defined");
    assert_eq!(
        show("{{.State.Foo}}", &c),
        "ERROR template: :1: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""
    );
    assert_eq!(show("{{if .Id}}x", &c), "ERROR template: :1: unexpected EOF");
    assert_eq!(
        show("{{range .Id}}{{end}}", &c).split(": ").last(),
        Some("range can't iterate over abc")
    );
}

#[test]
fn a_method_with_an_argument_is_a_lookup() {
    let row = json!({"Label": {"a.b": "c"}});
    assert_eq!(show(r#"{{.Label "a.b"}}"#, &row), "c");
    assert_eq!(show(r#"{{.Label "none"}}"#, &row), "");
}
