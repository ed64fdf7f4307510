package app

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/quota"
)

// What a team, a user, an organisation and a project have spent is what the calls of all their keys have, and is told of each by its own
// rules, those of its owners and those of the configuration, as of a key.
func TestStandings(t *testing.T) {
	r := newRig(t, `
models: [{name: good, provider: o, model: echo}]
rules:
  - {name: teams, per: [team], budgets: [{tokens: 500000, every: month}]}
  - {name: projects, per: [project], budgets: [{tokens: 600000, every: month}]}
  - {name: others, teams: [nobody], budgets: [{tokens: 700000, every: month}]}
`)
	ctx, root, c := t.Context(), control.Owner("tests"), r.app.people.control
	change := func(name string) (ch control.Change) {
		if err := json.Unmarshal(fmt.Appendf(nil, `{"name":%q,"models":["*"],"rules":[{"name":"own","budgets":[{"tokens":900000,"every":"month"}]}]}`, name), &ch); err != nil {
			t.Fatal(err)
		}
		return ch
	}
	team, err := c.Teams().Create(ctx, root, control.NewTeam{Change: change("research")})
	if err != nil {
		t.Fatal(err)
	}
	var users [2]*control.UserView
	var spent [2]int64
	for i := range users {
		name := fmt.Sprint("user ", i)
		users[i], err = c.Users().Create(ctx, root, control.NewUser{UserChange: control.UserChange{Change: change(name), Teams: control.Some([]string{team.ID})}})
		if err != nil {
			t.Fatal(err)
		}
		in := control.NewKey{KeyChange: control.KeyChange{Change: change(name), Team: control.Some(team.ID), User: control.Some(users[i].ID)}}
		in.Project = control.Some(fmt.Sprint("project-", i))
		k, err := c.Keys().Create(ctx, root, in)
		if err != nil {
			t.Fatal(err)
		}
		for range i + 1 {
			resp, text := r.post(t, "/v1/chat/completions", `{"model":"good","messages":[{"role":"user","content":"ping"}]}`, "Authorization", "Bearer "+k.Secret)
			var out struct {
				Usage struct {
					Total int64 `json:"total_tokens"`
				} `json:"usage"`
			}
			if err := json.Unmarshal([]byte(text), &out); err != nil || resp.StatusCode != http.StatusOK || out.Usage.Total == 0 {
				t.Fatalf("%d %s: %v", resp.StatusCode, text, err)
			}
			spent[i] += out.Usage.Total
		}
	}
	r.app.money.settled(ctx)
	both, one, unknown := fmt.Sprint(spent[0]+spent[1]), fmt.Sprint(spent[1]), ""
	for _, test := range []struct {
		kind        directory.Kind
		id, project string
		want        map[string]string // what is spent by whose rule
	}{
		{directory.KindTeam, team.ID, "", map[string]string{"own of team": both, "teams of gateway": both, "projects of gateway": unknown}},
		{directory.KindUser, users[1].ID, "", map[string]string{"own of user": one, "teams of gateway": unknown, "projects of gateway": unknown}},
		{directory.KindOrganisation, team.Organisation, "", map[string]string{"teams of gateway": unknown, "projects of gateway": unknown}},
		{directory.KindOrganisation, team.Organisation, "project-1", map[string]string{"teams of gateway": unknown, "projects of gateway": one}},
	} {
		st, err := running{r.app}.Standing(ctx, test.kind, test.id, test.project)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, spentBy(st)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.kind, test.project, diff)
		}
	}
	if _, err := (running{r.app}).Standing(ctx, directory.KindTeam, "nobody", ""); err == nil {
		t.Error("a team that is not there has a standing")
	}
}

func spentBy(st *quota.Standing) map[string]string {
	out := map[string]string{}
	for _, b := range st.Budgets {
		out[b.Rule+" of "+b.Whose] = b.Spent
	}
	return out
}
