package app

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sluice/internal/atomicfile"
	"sluice/internal/catalog"
	"sluice/internal/config"
)

// PriceFile is where a price file is kept that wins over the prices in the program.
func PriceFile(cfg *config.Config) string { return filepath.Join(cfg.Data, "prices.yaml") }

// ReadPrices reads a price file, and gives its bytes, too. Its errors have place and cure of all that is wrong.
func ReadPrices(path string) ([]catalog.Price, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, catalog.MaxTable+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read prices: %w", err)
	}
	prices, err := catalog.ParsePrices(path, text)
	return prices, text, err
}

// KeptPrices are those of PriceFile, none when there is no such file.
func KeptPrices(cfg *config.Config) ([]catalog.Price, error) {
	prices, _, err := ReadPrices(PriceFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return prices, err
}

// KeepPrices makes the bytes of a price file that ReadPrices took the PriceFile, whole or not at all. A gateway
// that runs takes it up at its next start or reload.
func KeepPrices(cfg *config.Config, text []byte) error {
	path := PriceFile(cfg)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.Replace(path, text); err != nil {
		return fmt.Errorf("keep prices: %w", err)
	}
	return nil
}

// priceFiles are the files that prices are read from, beside the program itself.
func (a *App) priceFiles() []string {
	files := []string{PriceFile(a.cfg)}
	if f := a.cfg.Prices.File; f != "" {
		files = append(files, f)
	}
	return files
}

// pricesSum tells price files apart by what they hold.
func pricesSum(cfg *config.Config) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range []string{PriceFile(cfg), cfg.Prices.File} {
		if path == "" {
			continue
		}
		_, text, _ := ReadPrices(path)
		_, _ = fmt.Fprintf(h, "%d ", len(text))
		_, _ = h.Write(text)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
