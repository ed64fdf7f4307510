package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandLine holds the exit codes, and what is said beside them.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("SLUICE_CONFIG", "")
	t.Setenv("SLUICE_ADMIN_URL", "http://127.0.0.1:1") // where nobody listens
	for name, text := range map[string]string{
		"good.yaml": "listen: 127.0.0.1:0\nmock: {enabled: true}\n", "sluice.yaml": "lissen: 1\n",
		"chat.json": `{"model": "mock/echo", "messages": [{"role": "user", "content": "hi"}]}`, "text": "hello",
		"other.yaml": "data: elsewhere\nmock: {enabled: true}\n", "kek.yaml": "secrets: {key: rP3xQ9vT7mK2sW8zL5nB4cJ6hD1fG0yA}\n",
		"eu.yaml": "name: eu\nkind: openai\nbase_url: https://eu.example/v1\nallow_private: [10.0.0.0/8]\n", "rule.json": `{"name": "month", "budgets": [{"dollars": 5, "every": "month"}]}`, "weight.yaml": "weight: 3\n",
		"set.yaml": "models: [{name: fast, provider: mock, model: echo}]\n", "bad.yaml": "models: [{name: fast, provider: nobody, model: echo}]\n", "list.yaml": "keys: []\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		line string
		code int
		want string // in what is written to either stream
	}{
		{"", 0, "To begin:\n\n    sluice serve"},
		{"--help", 0, "config check"},
		{"-h", 0, "config check"},
		{"help upstreams", 0, "upstreams drain"},
		{"serve --help", 0, "($SLUICE_CONFIG)"},
		{"mock --help", 0, "retry=D[:FORM]"},
		{"help exit-codes", 0, "4   The gateway refused"},
		{"exit-codes", 0, "4   The gateway refused"},
		{"keys update --help", 0, "Example:\n\n    sluice keys update ci"},
		{"users delete --help", 0, "Example:\n\n    sluice users delete ada"},
		{"completion bash", 0, "__start_sluice"},
		{"completion zsh", 0, "#compdef sluice"},
		{"completion fish", 0, "complete -c sluice"},
		{"completion powershell", 0, "Register-ArgumentCompleter"},
		{"completion", 2, "sluice completion SHELL"},
		{"completion tcsh", 2, "no completion for \"tcsh\""},
		{"config check --help", 0, "Usage: sluice config check [FILE] [FLAGS]"},

		{"serv", 2, `unexpected argument "serv", did you mean "serve"?`},
		{"nothing", 2, `unexpected argument "nothing"`},
		{"config", 2, "sluice config --help"},
		{"config chek", 2, `did you mean "check"?`},
		{"serve more", 2, `unexpected argument "more"`},
		{"serve --more", 2, "--more"},
		{"serve --config", 2, "--config"},
		{"serve -c sluice.yaml", 2, "lissen"},
		{"serve", 2, "lissen"}, // ./sluice.yaml, where there is one
		{"serve -c nowhere.yaml", 1, "nowhere.yaml"},

		{"config check", 2, "lissen"},
		{"config check good.yaml", 0, filepath.Join(dir, "good.yaml") + " is valid"},
		{"config check nowhere.yaml", 1, "nowhere.yaml"},
		{"config check good.yaml --json", 0, `"valid": true`},
		{"config check --json", 2, `"path": "lissen"`},
		{"config check good.yaml --json more", 2, `"exit_code": 2`},
		{"config check nowhere.yaml --json", 1, `"type": "urn:sluice:error:failed"`},
		{"config check good.yaml more", 2, `unexpected argument "more"`},
		{"config schema", 0, "$schema"},

		{"upstreams", 1, "no gateway answers at http://127.0.0.1:1"},
		{"upstreams list --json", 1, "no gateway answers"},
		{"upstreams --admin-url http://127.0.0.1:2", 1, "no gateway answers at http://127.0.0.1:2"},
		{"upstreams drain x --admin-url=http://127.0.0.1:2", 1, "no gateway answers at http://127.0.0.1:2"},
		{"keys", 1, "no gateway answers at http://127.0.0.1:1"},
		{"keys --help", 0, "sluice keys create ci --models"},
		{"keys create", 2, "sluice keys create NAME"},
		{"keys create a b", 2, `unexpected argument "b"`},
		{"keys create a --requests", 2, "--requests"},
		{"keys create a --budget 5", 1, "--budget"},
		{"keys create a --alerts 50", 1, "belong to a --budget"},
		{"keys create a --rules text", 1, "--rules: "},
		{"keys update a --clear price", 1, "no gateway answers"},
		{"keys rotat a", 2, `did you mean "rotate"?`},
		{"keys override a --rule x", 2, "periods"},
		{"teams rotate a", 2, "unexpected argument"},
		{"teams create --help", 0, "--budget AMOUNT/PERIOD"},
		{"users create --help", 0, "--teams NAMES"},
		{"organisations list", 1, "no gateway answers"},
		{"keys list --local -c nowhere.yaml", 1, "nowhere.yaml"},
		{"keys list --local -c good.yaml", 0, "NAME"},
		{"keys show nobody --local -c good.yaml", 1, `key: there is none with the id or name "nobody"`},
		{"keys create ci --local -c good.yaml --models gpt-*", 0, "This is the only time that the key is shown"},
		{"keys create ci --local -c good.yaml", 5, "is taken"},
		{"keys update ci --local -c good.yaml --requests 600/min", 1, "such as 600/minute"},
		{"keys update ci --local -c good.yaml --requests 600/minute --budget 5/month", 0, "version 2"},
		{"keys update ci --local -c good.yaml --tokens 5/day --clear models,price", 1, `"price" cannot be cleared`},
		{"keys update ci --local -c good.yaml --tokens 5/day --clear models", 0, "version 3"},
		{"keys list --local -c good.yaml", 0, "600/minute requests, 5/day tokens, $5/month"},
		{"keys delete ci --local -c good.yaml", 0, "is gone"},

		{"admin", 2, "sluice admin --help"},
		{"admin create-owner", 2, "sluice admin create-owner ADDRESS"},
		{"admin create-owner ada@example.org -c other.yaml", 1, "or make the store (--local)"},
		{"admin create-owner nobody -c good.yaml", 1, "/email"},
		{"admin create-owner ada@example.org -c good.yaml", 0, "\n    sll-"},
		{"admin create-owner ada@example.org -c good.yaml --json", 0, `"token": "sll-`},
		{"accounts", 1, "no gateway answers at http://127.0.0.1:1"},
		{"accounts --local -c good.yaml", 0, "invited"},
		{"accounts create bob@example.org --local -c good.yaml", 2, `"role"`},
		{"accounts create bob@example.org --role king --local -c good.yaml", 1, "/role"},
		{"accounts create bob@example.org --role operator --local -c good.yaml", 0, "This is the only time that the link is shown"},
		{"accounts create bob@example.org --role operator --local -c good.yaml", 5, "another account has it"},
		{"accounts create eve@example.org --role member --local -c good.yaml", 1, "/realm"},
		{"accounts show bob@example.org --local -c good.yaml", 0, "operator"},
		{"accounts update bob@example.org --role admin --organisation default --name Bob --local -c good.yaml", 0, "admin, organisation default"},
		{"accounts update bob@example.org --whole-gateway --local -c good.yaml", 0, "admin, the whole gateway"},
		{"accounts disable bob@example.org --local -c good.yaml", 0, "is disabled"},
		{"accounts list --local -c good.yaml", 0, "disabled"},
		{"accounts enable bob@example.org --local -c good.yaml", 0, "is enabled"},
		{"accounts reset bob@example.org --local -c good.yaml --json", 0, `"token": "sll-`},
		{"sessions list bob@example.org --local -c good.yaml", 0, "BROWSER"},
		{"sessions end bob@example.org --local -c good.yaml", 0, "Ended 0"},
		{"sessions end bob@example.org x --local -c good.yaml", 1, "there is none with this id"},
		{"sessions --local -c good.yaml", 0, "ACCOUNT  ID"},
		{"sessions list --local -c good.yaml --json", 0, "[]"},
		{"sessions", 1, "no gateway answers"},
		{"accounts delete bob@example.org --local -c good.yaml", 0, "is gone"},
		{"accounts delete bob@example.org --local -c good.yaml", 1, "there is none"},
		{"tokens create ci --role admin --scopes keys.* --expires 30d --local -c good.yaml", 0, "\n    slt-"},
		{"tokens create ci --scopes king.* --local -c good.yaml", 1, "/scopes/0"},
		{"tokens create ci --expires 400d --local -c good.yaml", 1, "365 days"},
		{"tokens --local -c good.yaml", 0, "keys.*"},
		{"tokens show x --local -c good.yaml", 1, "there is none"},
		{"tokens delete x --local -c good.yaml", 1, "there is none"},

		{"usage", 1, "no gateway answers"},
		{"usage --help", 0, "sluice usage --by key --top 10"},
		{"usage --csv --json", 2, "csv"},
		{"usage --local -c other.yaml", 1, "there is no store at"},
		{"usage --by key --top 3 --local -c good.yaml", 0, "total"},
		{"usage --by colour --local -c good.yaml", 1, `by: there is no "colour"`},
		{"usage --from soon --local -c good.yaml", 1, "is no point of time"},
		{"usage --top -1 --local -c good.yaml", 1, "top must be a number from 1"},
		{"ledger", 2, "sluice ledger --help"},
		{"ledger list --local -c good.yaml", 0, "REQUEST"},
		{"ledger list --local -c good.yaml --limit 0", 1, "--limit"},
		{"ledger list --local -c good.yaml --after x", 1, "cursor"},
		{"ledger list --local -c good.yaml --request none", 1, "no call none is in the ledger"},
		{"ledger verify --dir nowhere", 1, "nowhere"},
		{"ledger verify --dir .", 1, "there is no log in"},
		{"ledger recompute --local -c good.yaml", 0, "sums: 0 wrong"},
		{"ledger recompute", 1, "no gateway answers"},

		{"config --help", 0, "sluice config apply settings.yaml"},
		{"config plan", 2, "sluice config plan FILE"},
		{"config plan nowhere.yaml", 1, "nowhere.yaml"},
		{"config plan set.yaml", 1, "no gateway answers"},
		{"config plan set.yaml --local -c good.yaml", 0, "+ models/fast\n    + model: \"echo\"\n    + name: \"fast\"\n    + provider: \"mock\"\n1 change, from revision 0"},
		{"config plan bad.yaml --local -c good.yaml", 1, "/models/fast/provider"},
		{"config plan list.yaml --local -c good.yaml", 1, "all else is the file's"},
		{"config plan bad.yaml --json --local -c good.yaml", 1, `"pointer": "/models/fast/provider"`},
		{"config apply set.yaml --local -c good.yaml --base 1 --yes", 5, "plan again"},
		{"config apply set.yaml --local -c good.yaml --yes --why because", 0, "This is revision 1 now"},
		{"config apply set.yaml --local -c good.yaml", 0, "Nothing changes: the settings are so already, at revision 1."},
		{"config show --local -c good.yaml", 0, "apply (because)\nmodels:\n- name: fast\n"},
		{"config show 7 --local -c good.yaml", 1, "there is no revision 7"},
		{"config show x --local -c good.yaml", 1, "a revision is a number"},
		{"config show --whole --local -c good.yaml", 0, "listen: "},
		{"config history --local -c good.yaml", 0, "apply  0   because"},
		{"config history --local -c good.yaml --json", 0, `"number": 1`},
		{"config rollback nought", 1, "is no revision"},
		{"config rollback 1 --local -c good.yaml --yes --json", 0, `"revision": 1`},
		{"config status --local -c good.yaml", 0, "the newest revision is 1"},
		{"providers", 1, "no gateway answers"},
		{"providers create", 2, `"file"`},
		{"providers create --file nowhere.yaml", 2, "nowhere.yaml"},
		{"providers create --file list.yaml --local -c good.yaml", 1, "/value/name is missing"},
		{"providers create --file eu.yaml --local -c good.yaml", 0, "Made providers/eu: this is revision 2"},
		{"providers create --file eu.yaml --local -c good.yaml", 5, "there is a providers/eu already"},
		{"providers --local -c good.yaml", 0, "eu    store   openai  https://eu.example/v1  -"},
		{"providers show eu --local -c good.yaml", 0, "# providers/eu, of the store\nname: eu\nkind: openai\n"},
		{"providers list --json --local -c good.yaml", 0, `"source": "store"`},
		{"credentials", 2, `"provider"`},
		{"credentials list --provider eu --local -c good.yaml", 0, "NAME  OF THE\n"},
		{"deployments update x --model fast --file weight.yaml --local -c good.yaml", 1, "there is no models/fast/deployments/x"},
		{"budgets create --file rule.json --local -c good.yaml", 0, "Made rules/month"},
		{"budgets list --local -c good.yaml", 0, "dollars 5 every month"},
		{"rules create --file text --local -c good.yaml", 2, "must be one object"},
		{"rules delete month --local -c good.yaml", 0, "Removed rules/month"},
		{"rules delete month --local -c good.yaml", 1, "there is no rules/month"},
		{"providers delete eu --help", 0, "sluice providers delete eu\n"},
		{"credentials show --help", 0, "sluice credentials show team-a --provider eu > team-a.yaml\n"},
		{"secrets", 2, "sluice secrets --help"},
		{"secrets rotate --local -c good.yaml", 0, "0 secrets are sealed"},
		{"secrets rotate --kek nowhere.yaml", 2, "nowhere.yaml"},
		{"secrets rotate --kek kek.yaml -c other.yaml", 1, "there is no store at"},
		{"secrets rotate --kek kek.yaml -c good.yaml --json", 0, `"key_encryption_key": "key `},
		{"keys list --local -c good.yaml", 1, "sealed under another key-encryption key"},
		{"config history --local -c good.yaml", 1, "sealed under another key-encryption key"},

		{"audit", 2, "sluice audit --help"},
		{"audit list", 1, "no gateway answers"},
		{"audit list --local -c other.yaml", 1, "there is no store at"},
		{"audit list --local -c good.yaml --limit 0", 1, "--limit"},
		{"audit verify", 2, "FILE or --store"},
		{"audit verify chat.json --store", 2, "FILE or --store"},
		{"audit verify chat.json", 2, "--key is missing"},
		{"audit verify chat.json --key x", 1, "not a public key"},
		{"audit verify nowhere --key sluice-audit:nYdIwhm7dQxrNHcuRkX5A6Ms7Q5WcszDfNB6TXK+7D8=", 1, "nowhere"},
		{"audit verify chat.json --anchor chat.json --key sluice-audit:nYdIwhm7dQxrNHcuRkX5A6Ms7Q5WcszDfNB6TXK+7D8=", 1, "has no checkpoint"},
		{"audit verify --store -c good.yaml", 0, "nothing is wrong"},
		{"audit verify --store -c good.yaml", 0, "sealed parts not opened, as --store opens none (verify an export for that): the chain holds their bytes, and what they say was not looked at\n"},
		{"audit redact x", 2, `"why"`},
		{"audit keys --new --json", 0, `"public": "sluice-audit:`},

		{"upstreams drain", 2, "sluice upstreams drain DEPLOYMENT"},
		{"upstreams drain x y", 2, `unexpected argument "y"`},
		{"upstreams drian x", 2, `did you mean "drain"?`},

		{"explain", 2, `"key", "request"`},
		{"explain --key k --request nowhere", 2, "nowhere"},
		{"explain --key k --request text", 1, "holds no JSON"},
		{"explain --key k --request chat.json", 1, "no gateway answers"},
		{"explain --key k --request chat.json -H x", 1, "is not NAME: VALUE"},
		{"explain --key k --request chat.json -c good.yaml", 0, "model mock/echo"},

		{"mock --script nowhere", 2, "nowhere"},
		{"mock --log many", 2, "--log"},
		{"mock --tls-cert text", 1, "go together"},
		{"bench --rounds 101", 1, "want 1 to 100"},
		{"bench --proxy-to x", 2, "proxy-listen"},
		{"version", 0, "sluice "},
		{"version --json", 0, `"go": "go1.`},
	} {
		var out, err bytes.Buffer
		code := run(strings.Fields(tc.line), &out, &err)
		said, other := &out, &err
		if code != 0 {
			said, other = &err, &out
		}
		if code != tc.code || !strings.Contains(said.String(), tc.want) || other.Len() > 0 {
			t.Errorf("sluice %s: code %d, want %d and %q; out:\n%serr:\n%s", tc.line, code, tc.code, tc.want, out.String(), err.String())
		}
	}
}

// TestHelp holds that every command tells of itself, in lines that fit.
func TestHelp(t *testing.T) {
	root := (&program{std: &streams{}}).commands()
	leaves := leavesOf(root)
	if len(leaves) < 12 {
		t.Errorf("only %d commands", len(leaves))
	}
	for _, leaf := range leaves {
		args := append(strings.Fields(leaf.CommandPath())[1:], "--help")
		var out bytes.Buffer
		if code := run(args, &out, &out); code != 0 {
			t.Errorf("%v: code %d", args, code)
		}
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "    ") && len(line) > width+1 { // those are the manual's own
				t.Errorf("%v: %d columns: %s", args, len(line)-1, line)
			}
		}
		if !strings.HasSuffix(leaf.Short, ".") {
			t.Errorf("%v: %q is no sentence", args, leaf.Short)
		}
		if !strings.Contains(out.String(), "    sluice ") {
			t.Errorf("%v has no example", args)
		}
	}
}
