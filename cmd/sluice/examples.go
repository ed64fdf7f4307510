package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// examples are what a person would type, by the command's path. Where a path begins with OWNERS it stands for each kind
// of owner, and so do OWNERS and NAME in its example; OBJECTS is the same of kinds of objects of the settings.
var examples = map[string]string{ //nolint:gosec // a name with "secret" in it
	"serve":         "sluice serve\nsluice serve --config /etc/sluice/sluice.yaml",
	"config check":  "sluice config check\nsluice config check /etc/sluice/sluice.yaml --json",
	"config schema": "sluice config schema > sluice.schema.json",

	"config plan":     "sluice config plan settings.yaml",
	"config apply":    "sluice config apply settings.yaml --why 'a region in Europe'\nsluice config apply settings.yaml --base 7 --yes --json",
	"config show":     "sluice config show > settings.yaml\nsluice config show 7\nsluice config show --whole",
	"config history":  "sluice config history --limit 10",
	"config rollback": "sluice config rollback 7 --why 'the new provider refuses calls'",
	"config status":   "sluice config status",
	"secrets rotate":  "sluice secrets rotate\nsluice secrets rotate --config old.yaml --kek new.yaml",

	"audit list":   "sluice audit list --act 'keys.*' --from yesterday\nsluice audit list --result refused --json",
	"audit export": "sluice audit export --output log.jsonl",
	"audit verify": "sluice audit verify log.jsonl --key sluice-audit:MCow...\nsluice audit verify --store --anchor audit-anchor.jsonl",
	"audit redact": "sluice audit redact 01hr3v9k --why 'request of 2030-01-02'",
	"audit keys":   "sluice audit keys\nsluice audit keys --new > audit.key",

	"mock":  "sluice mock --listen 127.0.0.1:3010 --default 'delay=2s'",
	"bench": "sluice bench --compare --scenario small,stream",

	"explain":           "sluice explain --key ci --request chat.json\necho '{\"model\":\"fast\",\"messages\":[]}' | sluice explain --key ci --request -",
	"cache stats":       "sluice cache\nsluice cache stats --json",
	"cache purge":       "sluice cache purge --team search\nsluice cache purge --model gpt-4o --older-than 10m\nsluice cache purge --all",
	"upstreams list":    "sluice upstreams\nsluice upstreams list --json",
	"upstreams drain":   "sluice upstreams drain openai/gpt-4o",
	"upstreams disable": "sluice upstreams disable openai/gpt-4o#team-a",
	"upstreams enable":  "sluice upstreams enable openai/gpt-4o",
	"upstreams reset":   "sluice upstreams reset openai/gpt-4o",
	"doctor":            "sluice doctor\nsluice doctor --config /etc/sluice/sluice.yaml --offline --json",

	"keys list":     "sluice keys list --team research",
	"keys show":     "sluice keys show ci",
	"keys create":   "sluice keys create ci --models 'gpt-*' --budget 500/month",
	"keys update":   "sluice keys update ci --requests 600/minute --clear expires",
	"keys rotate":   "sluice keys rotate ci --grace 24h",
	"keys override": "sluice keys override ci --rule limits --periods 1 --dollars 750",
	"keys disable":  "sluice keys disable ci",
	"keys enable":   "sluice keys enable ci",
	"keys delete":   "sluice keys delete ci",

	"OWNERS list":     "sluice OWNERS\nsluice OWNERS list --json",
	"OWNERS show":     "sluice OWNERS show NAME",
	"OWNERS create":   "sluice OWNERS create NAME --budget 500/month",
	"OWNERS update":   "sluice OWNERS update NAME --requests 600/minute",
	"OWNERS override": "sluice OWNERS override NAME --rule limits --periods 1 --dollars 750",
	"OWNERS disable":  "sluice OWNERS disable NAME",
	"OWNERS enable":   "sluice OWNERS enable NAME",
	"OWNERS delete":   "sluice OWNERS delete NAME",

	"OBJECTS list":   "sluice OBJECTSOWNER\nsluice OBJECTS listOWNER --json",
	"OBJECTS show":   "sluice OBJECTS show NAMEOWNER > NAME.yaml",
	"OBJECTS create": "sluice OBJECTS createOWNER --file NAME.yaml",
	"OBJECTS update": "sluice OBJECTS update NAMEOWNER --file NAME.yaml",
	"OBJECTS delete": "sluice OBJECTS delete NAMEOWNER",

	"admin create-owner": "sluice admin create-owner ada@example.org",
	"accounts list":      "sluice accounts\nsluice accounts list --json",
	"accounts show":      "sluice accounts show ada@example.org",
	"accounts create":    "sluice accounts create bob@example.org --role operator\nsluice accounts create eve@example.org --role admin --organisation acme",
	"accounts update":    "sluice accounts update bob@example.org --role admin",
	"accounts disable":   "sluice accounts disable bob@example.org",
	"accounts enable":    "sluice accounts enable bob@example.org",
	"accounts reset":     "sluice accounts reset bob@example.org",
	"accounts delete":    "sluice accounts delete bob@example.org",
	"accounts redeem":    "sluice accounts redeem --admin-url https://sluice-admin.example.com",
	"sessions list":      "sluice sessions\nsluice sessions list bob@example.org",
	"sessions end":       "sluice sessions end bob@example.org",
	"tokens list":        "sluice tokens",
	"tokens show":        "sluice tokens show hpUvClrwLVCl",
	"tokens create":      "sluice tokens create ci --role admin --scopes 'keys.*' --expires 30d",
	"tokens delete":      "sluice tokens delete hpUvClrwLVCl",

	"usage":            "sluice usage --by team,model --from last-month",
	"ledger list":      "sluice ledger list --from yesterday --limit 20\nsluice ledger list --request req_0a1b2c",
	"ledger verify":    "sluice ledger verify --config /etc/sluice/sluice.yaml",
	"ledger recompute": "sluice ledger recompute\nsluice ledger recompute --fix",
	"prices list":      "sluice prices list gpt-5",
	"prices diff":      "sluice prices diff prices.yaml",
	"prices update":    "sluice prices update prices.yaml",

	"completion": "source <(sluice completion bash)\nsluice completion zsh > ~/.zfunc/_sluice",
	"version":    "sluice version --json",
}

// owners are the kinds that OWNERS stands for, each with a name that NAME stands for.
var owners = map[string]string{"teams": "research", "users": "ada", "organisations": "acme"}

// exampleOf is the example of a command, "" where there is none.
func exampleOf(c *cobra.Command) string {
	path := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
	if text, ok := examples[path]; ok {
		return text
	}
	first, rest, _ := strings.Cut(path, " ")
	if name, ok := owners[first]; ok {
		return strings.NewReplacer("OWNERS", first, "NAME", name).Replace(examples["OWNERS "+rest])
	}
	for _, k := range objectKinds {
		if k.name != first {
			continue
		}
		owner := ""
		if k.of != "" {
			i := slices.IndexFunc(objectKinds, func(o objectKind) bool { return o.noun == k.of })
			owner = " --" + k.of + " " + objectKinds[i].example
		}
		return strings.NewReplacer("OBJECTS", first, "NAME", k.example, "OWNER", owner).Replace(examples["OBJECTS "+rest])
	}
	return ""
}
