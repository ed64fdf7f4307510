package admin

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"sluice/internal/control"
)

var rewrite = flag.Bool("update", false, "rewrite openapi.json and the policy of the walk")

const documentFile = "openapi.json"

// object and friends are JSON as it is written: maps are written in the order of their names.
type node = map[string]any

// TestDocument: the document that is served is what the table and its types say.
func TestDocument(t *testing.T) {
	want := makeDocument(t)
	if *rewrite {
		if err := os.WriteFile(documentFile, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(document)); diff != "" {
		t.Errorf("openapi.json is not what the table says; run go test ./internal/admin -update (-table +file):\n%.2000s", diff)
	}
	openDocument(t, want)
}

// openDocument reads the document as a library does, and holds it against OpenAPI 3.1 itself.
func openDocument(t testing.TB, text []byte) validator.Validator {
	t.Helper()
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, faults := v.ValidateDocument(); !ok {
		for _, f := range faults {
			t.Errorf("%s: %s", f.Message, f.Reason)
			for _, s := range f.SchemaValidationErrors {
				t.Errorf("  %s: %s", s.FieldPath, s.Reason)
			}
		}
	}
	return v
}

func makeDocument(t testing.TB) []byte {
	t.Helper()
	h, err := New(Options{Pprof: false})
	if err != nil {
		t.Fatal(err)
	}
	schemas := newSchemas(t)
	paths := node{}
	for i := range h.table {
		r := &h.table[i]
		at, _ := paths[r.Path].(node)
		if at == nil {
			at = node{}
			paths[r.Path] = at
		}
		at[strings.ToLower(r.Method)] = operation(r, schemas)
	}
	doc := node{
		"openapi": "3.1.0",
		"info": node{
			"title": "Sluice admin API", "version": "1",
			"description": "What the operators' listener of a Sluice gateway takes. Errors are problem details (RFC 9457). docs/admin-api.md tells how to use it.",
			"license":     node{"name": "See the file LICENSE of the gateway"},
		},
		"servers":  []any{node{"url": "http://127.0.0.1:3002"}},
		"security": []any{node{"token": []any{}}, node{"session": []any{}}},
		"paths":    paths,
		"components": node{
			"securitySchemes": node{
				"token":   node{"type": "http", "scheme": "bearer", "description": "An automation token, or admin.token of the configuration."},
				"session": node{"type": "apiKey", "in": "cookie", "name": cookieName, "description": "The session of POST /admin/session. Unsafe requests need " + csrfHeader + ", too."},
			},
			"schemas": schemas.all(),
			"responses": node{"Problem": node{
				"description": "A refusal, or a failure.",
				"headers":     node{"X-Request-Id": node{"schema": node{"type": "string"}}},
				"content":     node{"application/problem+json": node{"schema": ref("Problem")}},
			}},
		},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func ref(name string) node { return node{"$ref": "#/components/schemas/" + name} }

var pathNames = regexp.MustCompile(`\{(\w+)\}`)

func operation(r *Route, schemas *schemas) node {
	id := strings.ToLower(r.Method) + strings.NewReplacer("/admin/", "_", "/", "_", "{", "by_", "}", "", ".", "_").Replace(r.Path)
	op := node{"operationId": id, "summary": r.Summary, "tags": []string{strings.Split(strings.TrimPrefix(r.Path, "/admin"), "/")[1]}}
	var parameters []any
	header := func(name, doc string, schema node) {
		parameters = append(parameters, node{"name": name, "in": "header", "description": doc, "schema": schema})
	}
	for _, m := range pathNames.FindAllStringSubmatch(r.Path, -1) {
		parameters = append(parameters, node{"name": m[1], "in": "path", "required": true, "schema": node{"type": "string", "minLength": 1}})
	}
	for _, p := range r.Query {
		schema := node{"type": "string"}
		if p.Number {
			schema = node{"type": "integer", "minimum": 1}
		}
		parameters = append(parameters, node{"name": p.Name, "in": "query", "description": p.Doc, "schema": schema})
	}
	statuses := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if r.Matches || r.Tagged && r.changes() {
		header("If-Match", "The ETag of the object that the change is made of; without it, it is made of whatever is there.", node{"type": "string"})
		statuses = append(statuses, http.StatusPreconditionFailed)
	}
	if r.Named {
		header("Idempotency-Key", "A name for this request: a second one of the same name within a day makes nothing and shows what the first made.", node{"type": "string", "maxLength": 255})
		statuses = append(statuses, http.StatusUnprocessableEntity)
	}
	if r.changes() && (r.Act != "" || r.For == ForSignedIn) {
		header("X-Sluice-Why", "Why it is done, for the audit log.", node{"type": "string", "maxLength": 500})
		header(csrfHeader, "Of requests with a session's cookie: what GET /admin/session calls csrf.", node{"type": "string"})
	}
	if strings.Contains(r.Path, "{") || r.Query != nil || r.Foreign {
		statuses = append(statuses, http.StatusNotFound)
	}
	if r.changes() {
		statuses = append(statuses, http.StatusNotFound, http.StatusConflict)
	}
	if r.In != nil {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		op["requestBody"] = node{"required": len(schemas.required(r.In)) > 0, "content": node{"application/json": node{"schema": schemas.in(r.In)}}}
	}
	op["responses"] = responses(r, schemas, statuses)
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if r.Act != "" {
		roles, whole, proof := control.Allowed(r.Act)
		op["x-sluice-act"], op["x-sluice-roles"], op["x-sluice-whole-gateway"], op["x-sluice-fresh-proof"] = r.Act, roles, whole, proof
	} else if r.For == ForAnybody {
		op["security"] = []any{}
	}
	return op
}

func responses(r *Route, schemas *schemas, statuses []int) node {
	headers := node{"X-Request-Id": node{"description": "The id of the request, which the audit log has, too.", "schema": node{"type": "string"}}}
	if _, ok := r.Out.(object); (ok || r.Tagged) && r.Method != http.MethodDelete {
		headers["ETag"] = node{"description": "The state of the object, for If-Match.", "schema": node{"type": "string"}}
	}
	good := node{"description": "Done.", "headers": headers}
	switch {
	case r.Out != nil:
		good["content"] = node{"application/json": node{"schema": schemas.out(r.Out)}}
	case r.Media != "":
		schema := node{}
		if r.Media != "application/json" {
			schema["type"] = "string"
		}
		good["content"] = node{r.Media: node{"schema": schema}}
	}
	out := node{fmt.Sprint(r.Status): good}
	if r.Named {
		twin := maps.Clone(good)
		twin["description"] = "A request of the same Idempotency-Key had done it: this is the object as it stands, without a secret."
		out["200"] = twin
	}
	if r.For == ForAnybody && r.Method == http.MethodGet {
		statuses = []int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusServiceUnavailable}
		if strings.HasPrefix(r.Media, "text/html") { // sign-in at a provider of identities
			statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict)
		}
	}
	for _, s := range statuses {
		if _, given := out[fmt.Sprint(s)]; !given {
			out[fmt.Sprint(s)] = node{"$ref": "#/components/responses/Problem"}
		}
	}
	return out
}

// schemas makes the schemas of types: of those that are sent what must be said is tagged, of those that are answered what is not
// left out when it is zero.
type schemas struct {
	ins, outs    *jsonschema.Reflector
	inDefs, defs map[string]*jsonschema.Schema
}

func newSchemas(t testing.TB) *schemas {
	t.Helper()
	s := &schemas{inDefs: map[string]*jsonschema.Schema{}, defs: map[string]*jsonschema.Schema{}}
	make := func() *jsonschema.Reflector {
		r := &jsonschema.Reflector{Anonymous: true, FieldNameTag: "json", Namer: nameOf}
		for _, pkg := range []string{"admin", "control", "rules", "quota", "route", "upstream", "telemetry", "audit", "config"} {
			if err := r.AddGoComments("sluice/internal/"+pkg, "../"+pkg); err != nil {
				t.Fatal(err)
			}
		}
		// The library keys comments by the path it was given.
		for k, v := range r.CommentMap {
			r.CommentMap["sluice/internal/"+k[strings.LastIndex(k, "/")+1:]] = strings.ReplaceAll(v, "\n", " ")
			parts := strings.Split(k, "/")
			if len(parts) > 1 {
				pkg, rest, _ := strings.Cut(parts[len(parts)-1], ".")
				r.CommentMap["sluice/internal/"+pkg+"."+rest] = strings.ReplaceAll(v, "\n", " ")
			}
		}
		r.Mapper = func(of reflect.Type) *jsonschema.Schema { return special(r, of) }
		return r
	}
	s.ins, s.outs = make(), make()
	s.ins.RequiredFromJSONSchemaTags = true
	s.outs.AllowAdditionalProperties = true
	s.out(Problem{})
	return s
}

// special are types that do not say what they are in JSON.
func special(r *jsonschema.Reflector, t reflect.Type) *jsonschema.Schema {
	switch {
	case t == reflect.TypeFor[jsontext.Value]():
		return &jsonschema.Schema{}
	case t == reflect.TypeFor[netip.Addr](), t == reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{Type: "string"}
	case t.Kind() == reflect.Array && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return &jsonschema.Schema{Type: "string"}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		return nil
	case strings.HasPrefix(t.Name(), "Maybe["):
		value, _ := t.FieldByName("Value")
		plain := *r
		plain.DoNotReference, plain.Anonymous = true, true
		plain.Mapper = func(of reflect.Type) *jsonschema.Schema { return special(&plain, of) }
		inner := plain.ReflectFromType(value.Type)
		inner.Version = ""
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{inner, {Type: "null"}}}
	}
	return nil
}

var renamed = map[string]string{"control.Plan": "ConfigPlan", "audit.Page": "AuditPage", "audit.View": "AuditEntry", "audit.ActorView": "Actor", "audit.ObjectView": "ActedOn", "config.Place": "Place", "upstream.View": "Deployment", "route.Explanation": "Plan", "quota.Standing": "Standing", "rules.Override": "BudgetOverride"}

// nameOf is the name of a type in the document: Page[control.KeyView] is KeyViewPage.
func nameOf(t reflect.Type) string {
	if other := renamed[t.String()]; other != "" {
		return other
	}
	if t.Name() == "" {
		return ""
	}
	outer, inner, generic := strings.Cut(t.Name(), "[")
	if generic {
		inner = strings.TrimSuffix(inner, "]")
		return inner[strings.LastIndex(inner, ".")+1:] + outer
	}
	return strings.ToUpper(outer[:1]) + outer[1:]
}

func (s *schemas) add(r *jsonschema.Reflector, defs map[string]*jsonschema.Schema, v any) string {
	made := r.Reflect(v)
	maps.Copy(defs, made.Definitions)
	return strings.TrimPrefix(made.Ref, "#/$defs/")
}

func (s *schemas) out(v any) node { return ref(s.add(s.outs, s.defs, v)) }

func (s *schemas) in(v any) node { return ref(s.add(s.ins, s.inDefs, v) + "Input") }

func (s *schemas) required(v any) []string { return s.inDefs[s.add(s.ins, s.inDefs, v)].Required }

// all are the components, with references as OpenAPI has them.
func (s *schemas) all() node {
	out := node{}
	for name, list := range map[string]map[string]*jsonschema.Schema{"": s.defs, "Input": s.inDefs} {
		for _, def := range slices.Sorted(maps.Keys(list)) {
			text, err := json.Marshal(list[def])
			if err != nil {
				panic(err)
			}
			text = regexp.MustCompile(`"#/\$defs/([^"]+)"`).ReplaceAll(text, []byte(`"#/components/schemas/${1}`+name+`"`))
			var v node
			if err := json.Unmarshal(text, &v); err != nil {
				panic(err)
			}
			out[def+name] = v
		}
	}
	return out
}
