package directory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/auth"
)

// keptChanges is how many changes a Memory remembers.
const keptChanges = 10_000

// A Memory is a Store that ends with the process.
type Memory struct {
	mu      sync.RWMutex // guards all of it
	orgs    map[string]*row[Organisation]
	teams   map[string]*row[Team]
	users   map[string]*row[User]
	keys    map[string]*row[Key]
	hashes  map[auth.Hash]string // key ids
	names   map[string]string    // ids by kind, scope and name
	notes   map[string]string
	changes []Change // without gaps in Seq
	seq     int64
}

// A row is a record and its spec as it is kept.
type row[T any] struct {
	val  T
	spec []byte
}

// NewMemory makes a store that has the default organisation and nothing else.
func NewMemory() *Memory {
	m := &Memory{
		orgs: map[string]*row[Organisation]{}, teams: map[string]*row[Team]{}, users: map[string]*row[User]{}, keys: map[string]*row[Key]{},
		hashes: map[auth.Hash]string{}, names: map[string]string{}, notes: map[string]string{},
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	first := Organisation{Record{ID: DefaultOrganisation, Name: DefaultOrganisation, Created: now, Updated: now}}
	if err := m.Organisations().Create(context.Background(), &first); err != nil {
		panic(err) // it is the first record: nothing can stand in its way
	}
	return m
}

// subject is a pointer to a record of any kind.
type subject[T any] interface {
	*T
	Base() *Record
}

// memTable is the view of one kind.
type memTable[T Organisation | Team | User | Key, P subject[T]] struct {
	m      *Memory
	kind   Kind
	rows   map[string]*row[T]
	scope  func(P) string        // in which the name is unique
	owners func(P) bool          // all of them exist
	used   func(id string) bool  // something belongs to it
	fits   func(P, *Filter) bool //
	keep   func(to, from P)      // copies what may not change
	hashes func(P) [2]auth.Hash  //
}

// Organisations implements Store.
func (m *Memory) Organisations() Table[Organisation] {
	return &memTable[Organisation, *Organisation]{
		m: m, kind: KindOrganisation, rows: m.orgs,
		scope:  func(*Organisation) string { return "" },
		owners: func(*Organisation) bool { return true },
		used: func(id string) bool {
			return has(m.teams, func(t *Team) bool { return t.Org == id }) || has(m.users, func(u *User) bool { return u.Org == id }) ||
				has(m.keys, func(k *Key) bool { return k.Org == id })
		},
		fits: func(o *Organisation, f *Filter) bool { return f.Org == "" || f.Org == o.ID },
	}
}

// Teams implements Store.
func (m *Memory) Teams() Table[Team] {
	return &memTable[Team, *Team]{
		m: m, kind: KindTeam, rows: m.teams,
		scope:  func(t *Team) string { return t.Org },
		owners: func(t *Team) bool { return m.orgs[t.Org] != nil },
		used: func(id string) bool {
			return has(m.keys, func(k *Key) bool { return k.Team == id }) || has(m.users, func(u *User) bool { return slices.Contains(u.Teams, id) })
		},
		fits: func(t *Team, f *Filter) bool { return f.Org == "" || f.Org == t.Org },
		keep: func(to, from *Team) { to.Org = from.Org },
	}
}

// Users implements Store.
func (m *Memory) Users() Table[User] {
	return &memTable[User, *User]{
		m: m, kind: KindUser, rows: m.users,
		scope: func(u *User) string { return u.Org },
		owners: func(u *User) bool {
			return m.orgs[u.Org] != nil && !slices.ContainsFunc(u.Teams, func(id string) bool { return !m.teamOf(id, u.Org) })
		},
		used: func(id string) bool { return has(m.keys, func(k *Key) bool { return k.User == id }) },
		fits: func(u *User, f *Filter) bool {
			return (f.Org == "" || f.Org == u.Org) && (f.Team == "" || slices.Contains(u.Teams, f.Team))
		},
		keep: func(to, from *User) { to.Org = from.Org },
	}
}

// Keys implements Store.
func (m *Memory) Keys() Table[Key] {
	return &memTable[Key, *Key]{
		m: m, kind: KindKey, rows: m.keys,
		scope: func(k *Key) string { return k.Org + "\x00" + k.Team + "\x00" + k.User },
		owners: func(k *Key) bool {
			u := m.users[k.User]
			return m.orgs[k.Org] != nil && (k.Team == "" || m.teamOf(k.Team, k.Org)) && (k.User == "" || u != nil && u.val.Org == k.Org)
		},
		used: func(string) bool { return false },
		fits: func(k *Key, f *Filter) bool {
			return (f.Org == "" || f.Org == k.Org) && (f.Team == "" || f.Team == k.Team) && (f.User == "" || f.User == k.User)
		},
		keep:   func(to, from *Key) { to.Org = from.Org },
		hashes: func(k *Key) [2]auth.Hash { return [2]auth.Hash{k.Hash, k.OldHash} },
	}
}

func (m *Memory) teamOf(id, org string) bool {
	t := m.teams[id]
	return t != nil && t.val.Org == org
}

func has[T any](rows map[string]*row[T], ok func(*T) bool) bool {
	for _, r := range rows {
		if ok(&r.val) {
			return true
		}
	}
	return false
}

// read gives a copy of a row's record that nothing else knows; nil for none.
func read[T any, P subject[T]](r *row[T]) (*T, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // there is no such record
	}
	val := parted(&r.val)
	return val, P(val).Base().Spec.UnmarshalText(r.spec)
}

// parted is a copy without a spec that shares nothing with the original.
func parted[T any](from *T) *T {
	val := *from
	if u, ok := any(&val).(*User); ok {
		u.Teams = slices.Sorted(slices.Values(u.Teams))
	}
	return &val
}

// Get implements Table.
func (t *memTable[T, P]) Get(_ context.Context, id string) (*T, error) {
	t.m.mu.RLock()
	defer t.m.mu.RUnlock()
	r := t.rows[id]
	if r == nil {
		return nil, ErrNotFound
	}
	return read[T, P](r)
}

// List implements Table.
func (t *memTable[T, P]) List(_ context.Context, f Filter) (list []T, next string, err error) {
	t.m.mu.RLock()
	defer t.m.mu.RUnlock()
	if f.Limit <= 0 || f.Limit > MaxList {
		f.Limit = MaxList
	}
	for _, id := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[id]
		if p := P(&r.val); id <= f.After || f.Name != "" && f.Name != p.Base().Name || !t.fits(p, &f) {
			continue
		}
		val, err := read[T, P](r)
		switch {
		case err != nil:
			return nil, "", err
		case f.Guard != "" && !slices.Contains(P(val).Base().Spec.Guards, f.Guard):
			continue
		case len(list) == f.Limit:
			return list, P(&list[len(list)-1]).Base().ID, nil
		}
		list = append(list, *val)
	}
	return list, "", nil
}

// Create implements Table.
func (t *memTable[T, P]) Create(_ context.Context, val *T) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	b := P(val).Base()
	if t.rows[b.ID] != nil {
		return ErrExists
	}
	return t.put(val, nil, 1)
}

// Update implements Table.
func (t *memTable[T, P]) Update(_ context.Context, val *T) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	b := P(val).Base()
	old := t.rows[b.ID]
	if old == nil {
		return ErrNotFound
	}
	was := P(&old.val).Base()
	if was.Version != b.Version {
		return ErrVersion
	}
	b.Created, b.Maker = was.Created, was.Maker
	if t.keep != nil {
		t.keep(P(val), P(&old.val))
	}
	return t.put(val, old, b.Version+1)
}

// put stores a record in the place of old, which is nil for a new one.
func (t *memTable[T, P]) put(val *T, old *row[T], version int64) error {
	p := P(val)
	b := p.Base()
	name := t.name(p)
	if id, taken := t.m.names[name]; taken && id != b.ID {
		return ErrExists
	}
	if t.hashes != nil {
		for _, h := range t.hashes(p) {
			if id, taken := t.m.hashes[h]; taken && id != b.ID {
				return ErrExists
			}
		}
	}
	if !t.owners(p) {
		return ErrNoOwner
	}
	spec, err := b.Spec.MarshalText()
	if err != nil {
		return err
	}
	if old != nil {
		t.forget(old)
	}
	b.Version = version
	r := &row[T]{*parted(val), spec}
	P(&r.val).Base().Spec = Spec{}
	t.rows[b.ID], t.m.names[name] = r, b.ID
	if t.hashes != nil {
		for _, h := range t.hashes(p) {
			if h != (auth.Hash{}) {
				t.m.hashes[h] = b.ID
			}
		}
	}
	t.m.changed(t.kind, b.ID)
	return nil
}

func (t *memTable[T, P]) name(p P) string {
	return string(t.kind) + "\x00" + t.scope(p) + "\x00" + p.Base().Name
}

// forget takes a row out of all indexes.
func (t *memTable[T, P]) forget(r *row[T]) {
	p := P(&r.val)
	delete(t.rows, p.Base().ID)
	delete(t.m.names, t.name(p))
	if t.hashes != nil {
		for _, h := range t.hashes(p) {
			delete(t.m.hashes, h)
		}
	}
}

// Delete implements Table.
func (t *memTable[T, P]) Delete(_ context.Context, id string, version int64) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	r := t.rows[id]
	switch {
	case r == nil:
		return ErrNotFound
	case P(&r.val).Base().Version != version:
		return ErrVersion
	case t.used(id):
		return ErrInUse
	}
	t.forget(r)
	t.m.changed(t.kind, id)
	return nil
}

func (m *Memory) changed(kind Kind, id string) {
	m.seq++
	m.changes = append(m.changes, Change{m.seq, kind, strings.Clone(id)})
	if len(m.changes) > 2*keptChanges {
		m.changes = slices.Clone(m.changes[keptChanges:])
	}
}

// ByHash implements Store.
func (m *Memory) ByHash(_ context.Context, h auth.Hash) (*Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.keys[m.hashes[h]]
	if r == nil {
		return nil, nil //nolint:nilnil // the interface asks for it
	}
	key, errKey := read[Key](r)
	org, errOrg := read[Organisation](m.orgs[key.Org])
	team, errTeam := read[Team](m.teams[key.Team])
	user, errUser := read[User](m.users[key.User])
	return &Entry{*key, user, team, org}, cmp.Or(errKey, errOrg, errTeam, errUser)
}

// Changes implements Store.
func (m *Memory) Changes(_ context.Context, seq int64) ([]Change, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if seq >= m.seq {
		return nil, nil
	}
	i := seq + 1 - m.changes[0].Seq
	if i < 0 {
		return nil, ErrGap
	}
	list := m.changes[i:]
	return slices.Clone(list[:min(len(list), 1000)]), nil
}

// Newest implements Store.
func (m *Memory) Newest(context.Context) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.seq, nil
}

// Note implements Store.
func (m *Memory) Note(_ context.Context, name, value string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value != "" && m.notes[name] == "" {
		m.notes[name] = value
	}
	return m.notes[name], nil
}
