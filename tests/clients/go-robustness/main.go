// go-robustness judges a recorded history of KubeBraid with etcd's own robustness validators: the
// linearizability of calls by Porcupine, the promises of watches, the reads at old revisions.
//
//	client-go-robustness HISTORY.jsonl
//
// It prints one line of JSON and ends with 1 if the history is refused. etcd's model counts revisions
// without gaps, and asks for the log of a member; both are rebuilt from the watches of all keys. What it
// cannot see: counts without rows, keepalives, headers of revokes; KubeBraid's own judges look at these
// (tests/robustness).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/tests/v3/robustness/validate"
)

const linearizationMax = 10 * time.Minute

type verdict struct {
	OK            bool    `json:"ok"`
	Error         string  `json:"error"`
	Assumptions   string  `json:"assumptions"`
	Linearization string  `json:"linearization"`
	Watch         string  `json:"watch"`
	Serializable  string  `json:"serializable"`
	Operations    int     `json:"operations"`
	Changes       int     `json:"changes"`
	Streams       int     `json:"streams"`
	TookS         float64 `json:"took_s"`
}

func judge(h *history) verdict {
	began := time.Now()
	reports := h.reports()
	count := 0
	for _, r := range reports {
		count += len(r.KeyValue)
	}
	cfg := validate.Config{ExpectRevisionUnique: false} // a transaction changes several keys
	result := validate.ValidateAndReturnVisualize(zap.NewNop(), cfg, reports, h.persisted(), linearizationMax)
	v := verdict{
		OK:            result.Error() == nil,
		Assumptions:   result.Assumptions.String(),
		Linearization: result.Linearization.String(),
		Watch:         result.Watch.String(),
		Serializable:  result.Serializable.String(),
		Operations:    count,
		Changes:       len(h.revisions),
		Streams:       len(h.watches),
		TookS:         time.Since(began).Seconds(),
	}
	if err := result.Error(); err != nil {
		v.Error = err.Error()
	}
	return v
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client-go-robustness HISTORY.jsonl")
		os.Exit(2)
	}
	h, err := load(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	v := judge(h)
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	// The validators print differences to standard output, too.
	fmt.Printf("\n%s\n", out)
	if !v.OK {
		os.Exit(1)
	}
}
