package telemetry

import "github.com/prometheus/client_golang/prometheus"

// A CacheState is what the cache of answers has seen and holds.
type CacheState struct {
	Entries, Bytes int64            // -1: not known
	Looked         map[string]int64 // calls, by what X-Sluice-Cache told
	Bypassed       map[string]int64 // by why
	Stored, Purged int64
	Refused        map[string]int64 // answers that were not kept, by why
	StoreErrors    int64
	Found          map[string]int64 // look-ups by meaning, by what became of them
	Indexed        map[string]int64 // answers made known by their meaning, and why others were not
	Agreed         map[string]int64 // answers found so that were held against the model's own: equal, near, far

	EmbedderRests, IndexRests bool // they are left alone now, as they failed
}

// WatchCache tells the state of the cache at each scrape.
func (m *Metrics) WatchCache(state func() CacheState) { m.registry.MustRegister(cacheWatcher(state)) }

type cacheWatcher func() CacheState

var (
	cacheEntries = ledgerDesc("cache_entries", "Answers that this process keeps; those in Redis are not counted.")
	cacheBytes   = ledgerDesc("cache_bytes", "What they take.")
	cacheCalls   = ledgerDesc("cache_calls_total", "Calls for which there is a cache, by what it did: hit, semantic, miss or bypass.", "result")
	cacheBypass  = ledgerDesc("cache_bypasses_total", "Calls that were not looked up, by why.", "reason")
	cacheStored  = ledgerDesc("cache_stored_total", "Answers that were kept.")
	cachePurged  = ledgerDesc("cache_purged_total", "Answers that a purge by way of this process has removed.")
	cacheRefused = ledgerDesc("cache_refused_total", "Answers that were not kept, by why.", "reason")
	cacheFound   = ledgerDesc("cache_semantic_lookups_total", "Look-ups by meaning, by what became of them.", "result")
	cacheIndexed = ledgerDesc("cache_semantic_indexed_total", "Answers made known by their questions' meaning, and why others were not.", "result")
	cacheAgreed  = ledgerDesc("cache_semantic_checks_total", "Answers found by meaning that were held against the model's own: equal, near, far.", "result")
	cacheRests   = ledgerDesc("cache_semantic_resting", "1: the embedder or the index of vectors is left alone now, as it failed.", "part")
	cacheErrors  = ledgerDesc("cache_store_errors_total", "Times that the store of answers failed or was too slow; each is a miss.")
)

// Describe implements prometheus.Collector.
func (cacheWatcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cacheEntries, cacheBytes, cacheCalls, cacheBypass, cacheStored, cachePurged, cacheRefused, cacheFound, cacheIndexed, cacheAgreed, cacheRests, cacheErrors} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w cacheWatcher) Collect(ch chan<- prometheus.Metric) {
	s := w()
	for part, rests := range map[string]bool{"embedder": s.EmbedderRests, "index": s.IndexRests} {
		v := 0.0
		if rests {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(cacheRests, prometheus.GaugeValue, v, part)
	}
	for d, n := range map[*prometheus.Desc]int64{cacheEntries: s.Entries, cacheBytes: s.Bytes} {
		if n >= 0 {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
		}
	}
	for d, n := range map[*prometheus.Desc]int64{cacheStored: s.Stored, cachePurged: s.Purged, cacheErrors: s.StoreErrors} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	for d, m := range map[*prometheus.Desc]map[string]int64{cacheCalls: s.Looked, cacheBypass: s.Bypassed, cacheRefused: s.Refused, cacheFound: s.Found, cacheIndexed: s.Indexed, cacheAgreed: s.Agreed} {
		for label, n := range m {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
		}
	}
}
