package config

import (
	"reflect"

	"sluice/internal/llm"
)

// AllSecrets are all that the configuration holds, wherever they stand, but for clients' keys: those are hashes by now. Whoever
// tells something about a configuration can hold it against them.
func (c *Config) AllSecrets() []string { return secrets(reflect.ValueOf(c).Elem(), nil) }

func secrets(v reflect.Value, all []string) []string {
	switch {
	case v.Type() == reflect.TypeFor[llm.Secret]():
		if v.String() != "" {
			all = append(all, v.String())
		}
	case isScalar(v.Type()):
	case v.Kind() == reflect.Struct:
		for _, f := range fields(v) {
			all = secrets(f, all)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			all = secrets(v.Index(i), all)
		}
	case v.Kind() == reflect.Map:
		for _, name := range sortedKeys(v) {
			all = secrets(v.MapIndex(reflect.ValueOf(name)), all)
		}
	}
	return all
}
