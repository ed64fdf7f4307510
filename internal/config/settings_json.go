package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"
)

// toJSON writes a plain tree as JSON. A number that JSON has no form for is a text.
func toJSON(n *yaml.Node) jsontext.Value {
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b)
	if err := encode(e, n); err != nil { // names stand once, and texts are UTF-8: ParseSettings saw to it
		return jsontext.Value("null")
	}
	return bytes.TrimSpace(b.Bytes())
}

func encode(e *jsontext.Encoder, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		err := e.WriteToken(jsontext.BeginObject)
		for i := 0; i+1 < len(n.Content) && err == nil; i += 2 {
			if err = e.WriteToken(jsontext.String(n.Content[i].Value)); err == nil {
				err = encode(e, n.Content[i+1])
			}
		}
		return errors.Join(err, e.WriteToken(jsontext.EndObject))
	case yaml.SequenceNode:
		err := e.WriteToken(jsontext.BeginArray)
		for i := 0; i < len(n.Content) && err == nil; i++ {
			err = encode(e, n.Content[i])
		}
		return errors.Join(err, e.WriteToken(jsontext.EndArray))
	}
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		return e.WriteToken(jsontext.Null)
	case tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return e.WriteToken(jsontext.Bool(n.Value == "true"))
	case tag == "!!int" || tag == "!!float":
		if v := jsontext.Value(n.Value); v.IsValid() && v.Kind() == '0' {
			return e.WriteValue(v)
		}
	}
	return e.WriteToken(jsontext.String(n.Value))
}

// fromJSON reads JSON, strictly, as a plain tree.
func fromJSON(v jsontext.Value) (*yaml.Node, error) {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	n, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("is more than one value")
	}
	return n, nil
}

func decode(d *jsontext.Decoder, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errors.New("is nested too deeply")
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	switch t.Kind() {
	case '{', '[':
		n, end := &yaml.Node{Kind: yaml.MappingNode}, jsontext.Kind('}')
		if t.Kind() == '[' {
			n, end = &yaml.Node{Kind: yaml.SequenceNode}, ']'
		}
		for d.PeekKind() != end {
			item, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		_, err := d.ReadToken()
		return n, err
	case 'n':
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	case 't', 'f':
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: t.String()}, nil
	case '0':
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: t.String()}
		if !bytes.ContainsAny([]byte(n.Value), ".eE") {
			n.Tag = "!!int"
		}
		return n, nil
	}
	return textNode(t.String()), nil
}

// ObjectJSON reads one object as people write it, in YAML or JSON, as the admin API takes it. Whether it makes sense is not looked at. file
// stands for it in errors, which are an *Error.
func ObjectJSON(file string, data []byte) (jsontext.Value, error) {
	d := &decoder{file: file, at: make(map[string]*yaml.Node), bad: make(map[string]bool)}
	n := d.read(data)
	if n != nil {
		n = d.plain(n, "")
	}
	if len(d.problems) == 0 && (n == nil || n.Kind != yaml.MappingNode) {
		d.note(n, "", "must be one object, as it would stand in its list in sluice.yaml")
	}
	if len(d.problems) > 0 {
		return nil, &Error{Problems: d.problems}
	}
	return toJSON(n), nil
}

// ObjectText writes an object of the admin API as people write it, and as ObjectJSON reads it.
func ObjectText(v jsontext.Value) ([]byte, error) {
	n, err := fromJSON(v)
	if err != nil {
		return nil, err
	}
	return yaml.Dump(n, yaml.WithLineWidth(-1))
}
