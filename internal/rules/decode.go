package rules

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// Decode reads one JSON document into v, strictly: a member that v does not have, one that is said twice and
// one of the wrong type are refused by name. The error is an *llm.Error for whoever wrote the document.
func Decode(text []byte, v any) error {
	err := json.Unmarshal(text, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	p := llm.Problem{Msg: "is not the JSON document that is expected here"}
	kind := llm.KindInvalid
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		p = llm.Problem{At: string(e.JSONPointer), Msg: fmt.Sprintf("the document is no valid JSON at byte %d", e.ByteOffset)}
		if errors.Is(err, jsontext.ErrDuplicateName) {
			p.Msg = "is said twice: keep one"
		}
	} else if e, ok := errors.AsType[*json.SemanticError](err); ok {
		p.At = string(e.JSONPointer)
		switch {
		case errors.Is(err, json.ErrUnknownName):
			kind, p.Msg = llm.KindUnknownField, "is not a member that this document may have: remove it"
		case e.GoType != nil:
			p.Msg = "is of the wrong type: must be " + typeName(e.GoType)
		}
	}
	return &llm.Error{Kind: kind, Msg: "the document cannot be taken", Problems: []llm.Problem{p}, Err: err}
}

// typeName says in JSON's words what a member must be.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return `a text in quotes`
	}
}
