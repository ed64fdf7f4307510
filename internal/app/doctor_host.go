package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"sluice/internal/config"
)

// others are the bits of a mode that let others than the owner in.
const others = 0o077

// lookData tells whether the data directory can be used, and by nobody else.
func lookData(_ context.Context, p *patient) []Finding {
	dir := p.cfg.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if above := existing(dir); !writable(above) {
			return []Finding{problem("make it, for the user that runs the gateway: install -d -m 0700 "+dir, "%s is not there, and %s may not be written to", dir, above)}
		}
		return []Finding{fine("%s is not there yet; the first start makes it", dir)}
	case err != nil:
		return []Finding{problem("set data to a directory that can be used", "%s", err)}
	case !info.IsDir():
		return []Finding{problem("set data to a directory", "%s is no directory", dir)}
	case !writable(dir):
		return []Finding{problem("give it to the user that runs the gateway", "%s may not be written to by this user", dir)}
	}
	var out []Finding
	if mode := info.Mode().Perm(); mode&others != 0 && modesCount {
		out = append(out, warn("chmod 0700 "+dir, "%s has mode %04o: others of this machine get at it", dir, mode))
	}
	if uid, ok := owner(info); ok && uid != os.Geteuid() {
		out = append(out, warn("run the doctor as the user that runs the gateway: rights are looked at for the one who asks",
			"%s belongs to user %d, and this is user %d", dir, uid, os.Geteuid()))
	}
	if open := opened(dir); len(open) > 0 && modesCount {
		out = append(out, problem("chmod 0600 "+strings.Join(open, " "), "files of the data directory are open to others: %s", strings.Join(open, ", ")))
	}
	if len(out) == 0 {
		out = append(out, fine("%s is ours alone, and can be written to", dir))
	}
	return out
}

// existing is the nearest directory above a path that is there.
func existing(path string) string {
	path, err := filepath.Abs(path)
	for err == nil {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
	return "."
}

// opened are the files below a directory that others may read or write, the first few of them.
func opened(dir string) (names []string) {
	const most = 5
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&others != 0 {
			names = append(names, name)
		}
		if len(names) == most {
			return fs.SkipAll
		}
		return nil
	})
	return names
}

// lookFiles tells whether others can read or change the files that hold secrets: the configuration, and what it names.
func lookFiles(_ context.Context, p *patient) (out []Finding) {
	if len(p.read) == 0 {
		return []Finding{skip("there is no configuration file")}
	}
	public := []string{p.cfg.TLS.Cert, p.cfg.Redis.CA, p.cfg.Prices.File}
	for i := range p.cfg.Providers {
		public = append(public, p.cfg.Providers[i].CA)
	}
	looked := map[string]bool{}
	for _, name := range p.read {
		info, err := os.Stat(name)
		if err != nil || looked[name] || !modesCount {
			continue
		}
		looked[name] = true
		mode := info.Mode().Perm()
		secret := name != p.o.ConfigPath && !slices.Contains(public, name) || name == p.o.ConfigPath && p.literal()
		switch {
		case mode&0o022 != 0:
			out = append(out, problem("chmod go-w "+name, "%s has mode %04o: others can change it", name, mode))
		case secret && mode&0o044 != 0:
			out = append(out, warn("chmod 0600 "+name+", or take the secret from the environment: ${NAME}", "%s holds a secret and has mode %04o: others can read it", name, mode))
		}
	}
	if len(out) == 0 {
		out = append(out, fine("%d files, of which those with secrets are closed to others", len(looked)))
	}
	return out
}

// literal tells whether the configuration's text has a secret in it, instead of where to find it.
func (p *patient) literal() bool {
	for _, secret := range p.cfg.AllSecrets() {
		if bytes.Contains(p.text, []byte(secret)) {
			return true
		}
	}
	words := bytes.FieldsFunc(p.text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'{}[],", r) })
	return slices.ContainsFunc(words, func(word []byte) bool {
		sum := sha256.Sum256(word)
		return slices.ContainsFunc(p.cfg.Keys, func(k config.Key) bool { return k.Sum == sum })
	})
}

// lookDisk tells whether there is room for what must not be lost.
func lookDisk(_ context.Context, p *patient) []Finding {
	dir := existing(p.cfg.Data)
	free, ok := freeBytes(dir)
	if !ok {
		return []Finding{skip("how much is free is not known here")}
	}
	const least = 256 << 20
	cure := "make room, or set data to a larger disk"
	switch spool := uint64(p.cfg.Ledger.Spool); {
	case free < least:
		return []Finding{problem(cure, "%s free at %s", size(free), dir)}
	case !p.cfg.Ledger.Off && free < spool:
		return []Finding{warn(cure+", or lower ledger.spool", "%s free at %s, less than the %s that the ledger's log may take while its database is away (ledger.spool)", size(free), dir, size(spool))}
	}
	return []Finding{fine("%s free at %s", size(free), dir)}
}

func size(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// lookZones tells whether time zones are known: those of budgets begin their periods.
func lookZones(_ context.Context, p *patient) []Finding {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Asia/Kolkata"} {
		if _, err := time.LoadLocation(name); err != nil {
			return []Finding{problem("install the system's time zones (tzdata)", "%s", err)}
		}
	}
	return []Finding{fine("known; this machine says it is %s", p.o.now().Format(time.RFC3339))}
}

// lookOpenFiles tells how many connections there can be: a call has two.
func lookOpenFiles(_ context.Context, _ *patient) []Finding {
	n, ok := openFiles()
	if !ok {
		return []Finding{skip("the limit is not known here")}
	}
	return []Finding{openFilesFinding(n)}
}

func openFilesFinding(n uint64) Finding {
	const cure = "raise it where the gateway is started: LimitNOFILE=65536 of its unit, or ulimit -n"
	switch {
	case n < 1024:
		return problem(cure, "at most %d open files: room for some %d calls at a time", n, n/2)
	case n < 8192:
		return warn(cure, "at most %d open files: room for some %d calls at a time", n, n/2)
	}
	return fine("at most %d open files", n)
}

// lookMemory holds Go's limit against that of the control group, and what calls may take against what there is.
func lookMemory(_ context.Context, p *patient) []Finding {
	group, own := cgroupLimit(p.o.root), debug.SetMemoryLimit(-1)
	return []Finding{memoryFinding(group, own), callsFinding(int64(p.cfg.Limits.Memory), min(group, own, machineMemory(p.o.root)))}
}

func callsFinding(configured, all int64) Finding {
	const cure = "leave limits.memory out, which is half of that, or make it smaller"
	switch {
	case configured == config.Off:
		return warn("leave limits.memory out, or say how much", "calls under way may take all memory there is: a few hundred large requests at once end the gateway")
	case configured > all/4*3:
		return problem(cure, "calls under way may take %s (limits.memory) of the %s that the process has", size(uint64(configured)), size(uint64(all)))
	}
	return fine("calls under way may take %s of %s", size(uint64(cmp.Or(configured, all/2))), size(uint64(all)))
}

func memoryFinding(group, own int64) Finding {
	cure := fmt.Sprintf("set GOMEMLIMIT=%dMiB in the gateway's environment: nine tenths, so that it collects garbage before it is killed", group/10*9>>20)
	switch {
	case group == math.MaxInt64:
		return fine("no limit, as far as this process shows")
	case own == math.MaxInt64:
		return warn(cure, "the limit is %s, and GOMEMLIMIT is not set (here; the gateway's own environment may differ)", size(uint64(group)))
	case own > group:
		return problem(cure, "GOMEMLIMIT is %s, more than the limit of %s", size(uint64(own)), size(uint64(group)))
	}
	return fine("the limit is %s, GOMEMLIMIT %s", size(uint64(group)), size(uint64(own)))
}
