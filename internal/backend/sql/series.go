package sql

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"sluice/internal/usage"
)

// A series is who pays for which model: what many rows have in common. Rows and sums name it by a number.
type series struct{ org, team, user, key, project, tags, model, provider string }

func seriesOf(r *usage.Row) series {
	return series{
		org: clean(r.Org), team: clean(r.Team), user: clean(r.User), key: clean(r.Key), project: clean(r.Project),
		tags: tagsText(r.Tags), model: clean(r.Model), provider: clean(r.Provider),
	}
}

// samePayer tells whether two rows are of one series, as those that follow one another often are: to look that up takes longer.
func samePayer(a, b *usage.Row) bool {
	return a.Key == b.Key && a.Model == b.Model && a.Provider == b.Provider && a.Org == b.Org && a.Team == b.Team && a.User == b.User &&
		a.Project == b.Project && slices.Equal(a.Tags, b.Tags)
}

// clean takes out what PostgreSQL does not keep: a row is never refused for the sake of a letter.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// tagsText writes tags as a JSON array; none: "".
func tagsText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	kept := make([]string, len(tags))
	for i, tag := range tags {
		kept[i] = clean(tag)
	}
	return string(mustJSON(kept))
}

// parseTags reads what tagsText wrote.
func parseTags(s string) (tags []string, err error) {
	if s != "" {
		err = json.Unmarshal([]byte(s), &tags)
	}
	return tags, err
}

// digest stands for all members, so that one short index finds a series.
func (s *series) digest() (d [sha256.Size]byte) {
	return sha256.Sum256(mustJSON([]string{s.org, s.team, s.user, s.key, s.project, s.tags, s.model, s.provider}))
}

// mustJSON encodes what cannot fail.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("sql: encode: " + err.Error())
	}
	return text
}

// maxSeries bounds the cache of numbers, which is emptied when it is full.
const maxSeries = 50_000

// A seriesCache knows the numbers of series that are in the store. They never change.
type seriesCache struct {
	mu  sync.Mutex // guards ids
	ids map[series]int64
}

func newSeriesCache() *seriesCache { return &seriesCache{ids: make(map[series]int64)} }

func (c *seriesCache) get(s series) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ids[s]
	return id, ok
}

func (c *seriesCache) put(all map[series]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ids)+len(all) > maxSeries {
		clear(c.ids)
	}
	maps.Copy(c.ids, all)
}

// number gives each row its series. Those that are new are stored first, in a transaction of their own: one that nothing
// points to does no harm.
func (db *DB) number(ctx context.Context, rows []usage.Row) ([]int64, error) {
	ids := make([]int64, len(rows))
	unknown := make(map[series]int64)
	for i := range rows {
		if i > 0 && samePayer(&rows[i], &rows[i-1]) {
			ids[i] = ids[i-1]
			continue
		}
		one := seriesOf(&rows[i])
		var ok bool
		if ids[i], ok = db.series.get(one); !ok {
			unknown[one] = 0
		}
	}
	if len(unknown) == 0 {
		return ids, nil
	}
	if err := db.write(ctx, func(ctx context.Context, s *session) error { return s.addSeries(ctx, unknown) }); err != nil {
		return nil, err
	}
	db.series.put(unknown)
	for i := range rows {
		if ids[i] == 0 {
			ids[i] = unknown[seriesOf(&rows[i])]
		}
	}
	return ids, nil
}

// A digested series is one whose number is asked for.
type digested struct {
	series
	digest []byte
}

// addSeries stores those that are not there and sets the numbers of all.
func (s *session) addSeries(ctx context.Context, all map[series]int64) error {
	list := make([]digested, 0, len(all))
	for one := range all {
		d := one.digest()
		list = append(list, digested{one, d[:]})
	}
	// In one order for all replicas, so that none waits for another that waits for it.
	slices.SortFunc(list, func(a, b digested) int { return bytes.Compare(a.digest, b.digest) })
	for piece := range pieces(list) {
		if err := s.addSeriesPiece(ctx, all, piece); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) addSeriesPiece(ctx context.Context, all map[series]int64, list []digested) error {
	var values, digests []any
	byDigest := make(map[string]series, len(list))
	for _, d := range list {
		values = append(values, d.digest, d.org, d.team, d.user, d.key, d.project, d.tags, d.model, d.provider)
		digests = append(digests, d.digest)
		byDigest[string(d.digest)] = d.series
	}
	err := s.do(ctx, say("INSERT INTO series (digest, org_id, team_id, user_id, key_id, project, tags, model, provider) VALUES ").
		list(len(list), "(?, ?, ?, ?, ?, ?, ?, ?, ?)", values...).
		and(" ON CONFLICT (digest) DO NOTHING"))
	if err != nil {
		return err
	}
	type tagged struct {
		tag    string
		series int64
	}
	var tags []tagged
	find := say("SELECT id, digest FROM series WHERE digest IN (").list(len(list), "?", digests...).and(")")
	err = s.each(ctx, find, func(r row) error {
		var id int64
		var digest []byte
		if err := r.Scan(&id, &digest); err != nil {
			return err
		}
		one := byDigest[string(digest)]
		all[one] = id
		names, err := parseTags(one.tags)
		for _, tag := range names {
			tags = append(tags, tagged{tag, id})
		}
		return err
	})
	if err != nil {
		return err
	}
	for piece := range pieces(tags) {
		var args []any
		for _, t := range piece {
			args = append(args, t.tag, t.series)
		}
		add := say("INSERT INTO series_tags (tag, series) VALUES ").list(len(piece), "(?, ?)", args...)
		if err := s.do(ctx, add.and(" ON CONFLICT DO NOTHING")); err != nil {
			return err
		}
	}
	return nil
}
