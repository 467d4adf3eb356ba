// What was measured: counts, a histogram of latencies, and what it cost this program.
//
// A histogram has 64 buckets to the doubling, so that a percentile is off by less than 2 %, and a fixed
// size, so that a long run costs no more memory than a short one.
package main

import (
	"encoding/json"
	"math/bits"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	subBits = 6
	sub     = 1 << subBits
	buckets = (64 - subBits + 1) * sub
)

// Histogram counts durations in nanoseconds. Not safe for use by several goroutines.
type Histogram struct {
	counts [buckets]uint32
}

func bucket(nanos uint64) int {
	if nanos < sub {
		return int(nanos)
	}
	shift := bits.Len64(nanos) - subBits - 1
	return (shift+1)*sub + int(nanos>>shift) - sub
}

// upper is the largest value of a bucket.
func upper(index int) uint64 {
	if index < sub {
		return uint64(index)
	}
	shift := index/sub - 1
	return (uint64(index%sub+sub)+1)<<shift - 1
}

func (h *Histogram) add(taken time.Duration) { h.counts[bucket(uint64(max(taken, 0)))]++ }

func (h *Histogram) merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// pairs are [upper bound in microseconds, count] of the buckets that hold something.
func (h *Histogram) pairs() [][2]float64 {
	found := [][2]float64{}
	for i, n := range h.counts {
		if n > 0 {
			found = append(found, [2]float64{float64(upper(i)) / 1000, float64(n)})
		}
	}
	return found
}

// Result is one line of the output.
type Result struct {
	Name       string       `json:"name"`
	Ops        int          `json:"ops"`
	Errors     int          `json:"errors"`
	FirstError string       `json:"first_error"`
	Seconds    float64      `json:"seconds"`
	Bytes      int64        `json:"bytes"`
	Keys       int64        `json:"keys"`
	Revision   int64        `json:"revision"`
	Resumed    int          `json:"resumed,omitempty"`
	ClientCPU  float64      `json:"client_cpu_seconds"`
	LatencyUs  [][2]float64 `json:"latency_us"`
}

// Tally collects what several workers saw.
type Tally struct {
	mutex  sync.Mutex
	result Result
	all    Histogram
	begun  time.Time
	cpu    float64
}

func newTally(name string) *Tally {
	return &Tally{result: Result{Name: name}, begun: time.Now(), cpu: cpuSeconds()}
}

// fail counts a failure; the first one's words are kept.
func (t *Tally) fail(err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.result.Errors++
	if t.result.FirstError == "" {
		t.result.FirstError = err.Error()
	}
}

// join adds what one worker measured.
func (t *Tally) join(h *Histogram, ops int, bytes, keys int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.all.merge(h)
	t.result.Ops += ops
	t.result.Bytes += bytes
	t.result.Keys += keys
}

// resumed counts watches that the server ended and that went on.
func (t *Tally) resumed(times int) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.result.Resumed += times
}

// stop ends the measured time.
func (t *Tally) stop() {
	t.result.Seconds = time.Since(t.begun).Seconds()
	t.result.ClientCPU = cpuSeconds() - t.cpu
}

// print writes the line.
func (t *Tally) print() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.result.LatencyUs = t.all.pairs()
	return json.NewEncoder(os.Stdout).Encode(t.result)
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(used.Utime) + seconds(used.Stime)
}
