package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
)

// A line of the history that tests/robustness/records.py writes: a call, or a stream of one watch.
type line struct {
	Type string

	Client    int
	Kind      string
	Called    int64
	Returned  int64
	Outcome   string
	Revision  int64
	Request   request
	Compares  []compare
	Then      []op
	Else      []op
	Succeeded bool
	Results   []result

	Watcher string
	Key     string
	End     string
	Start   int64
	PrevKV  bool `json:"prev_kv"`
	Told    []told
}

type request struct {
	Key       string
	End       string
	Revision  int64
	Limit     int64
	CountOnly bool `json:"count_only"`
	Lease     int64
}

type compare struct {
	Key string
	Mod int64
}

type op struct {
	Op    string
	Key   string
	Value string
	Lease int64
}

type result struct {
	Rows    []row
	Total   int64
	Deleted int64
}

type row struct {
	Key     string
	Value   string
	Create  int64
	Mod     int64
	Version int64
	Lease   int64
}

type event struct {
	Put      bool
	Row      row
	Previous *row
}

type told struct {
	At       int64
	Revision int64
	Events   []event
	Bookmark bool
}

// everything is the key, and the end, of a watch of all keys.
const everything = "\x00"

// history is a run: its calls, its watches, and what the watches of all keys say that happened.
type history struct {
	calls     []line
	watches   []line
	changes   map[int64][]event
	toldAt    map[int64]int64 // when a change was told for the first time
	revisions []int64
	start     int64 // the clock's zero
}

func load(path string) (*history, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := &history{changes: map[int64][]event{}, toldAt: map[int64]int64{}}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if l.Type == "call" {
			h.calls = append(h.calls, l)
		} else {
			h.watches = append(h.watches, l)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	h.learn()
	return h, nil
}

// learn takes the changes from the watches of all keys. Where these contradict each other the first
// one counts here, and the validators refuse the other.
func (h *history) learn() {
	for _, w := range h.watches {
		if w.Key != everything || w.End != everything || !w.PrevKV {
			continue // the former rows are needed too: they tell who made a deletion
		}
		for _, t := range w.Told {
			found := map[int64][]event{}
			for _, e := range t.Events {
				found[e.Row.Mod] = append(found[e.Row.Mod], e)
			}
			for revision, events := range found {
				if _, ok := h.changes[revision]; !ok {
					h.changes[revision] = events
					h.revisions = append(h.revisions, revision)
				}
				if at, ok := h.toldAt[revision]; !ok || t.At < at {
					h.toldAt[revision] = t.At
				}
			}
		}
	}
	sort.Slice(h.revisions, func(i, j int) bool { return h.revisions[i] < h.revisions[j] })
	sort.SliceStable(h.calls, func(i, j int) bool { return h.calls[i].Called < h.calls[j].Called })
	if len(h.calls) > 0 {
		h.start = h.calls[0].Called - 1
	}
}

// dense renames a revision: the model's store begins at 1 and makes the next number with each change.
// A revision between two changes becomes that of the one before it.
func (h *history) dense(revision int64) int64 {
	upTo := sort.Search(len(h.revisions), func(i int) bool { return h.revisions[i] > revision })
	return int64(upTo) + 1
}

// denseMod is dense for a key's revision, where 0 means that the key is absent.
func (h *history) denseMod(revision int64) int64 {
	if revision == 0 {
		return 0
	}
	return h.dense(revision)
}

// denseStart is dense for the revision that a watch starts from.
func (h *history) denseStart(revision int64) int64 {
	if revision == 0 {
		return 0
	}
	return h.dense(revision-1) + 1
}
