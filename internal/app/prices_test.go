package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/catalog"
	"sluice/internal/config"
)

const onePrice = "format: 1\nvendors: [{kinds: [x], source: s, checked: 2026-01-01, prices: [{models: [m], input: 1, output: 2}]}]\n"

func TestKeepPrices(t *testing.T) {
	cfg := &config.Config{Data: filepath.Join(t.TempDir(), "new", "data")}
	if kept, err := KeptPrices(cfg); err != nil || kept != nil {
		t.Fatalf("without a file: %v, %v", kept, err)
	}
	if err := KeepPrices(cfg, []byte(onePrice)); err != nil {
		t.Fatal(err)
	}
	if kept, err := KeptPrices(cfg); err != nil || len(kept) != 1 || kept[0].Input != 1e9 {
		t.Fatalf("%+v, %v", kept, err)
	}
	if info, err := os.Stat(PriceFile(cfg)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// A write that fails leaves what was there, and nothing beside it.
	if err := os.Remove(PriceFile(cfg)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(PriceFile(cfg), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := KeepPrices(cfg, []byte(onePrice)); err == nil {
		t.Error("a folder was replaced")
	}
	if left, err := filepath.Glob(filepath.Join(cfg.Data, "prices.yaml.*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestReadPricesIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte(onePrice+strings.Repeat("#", catalog.MaxTable)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadPrices(path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v, want a refusal of so large a file", err)
	}
}

// Every kind of provider of the table is one that there is.
func TestPriceKinds(t *testing.T) {
	for _, p := range catalog.Embedded() {
		for _, kind := range p.Kinds {
			if kinds[kind] == nil {
				t.Errorf("%v: there is no kind %s", p.Models, kind)
			}
		}
	}
}
