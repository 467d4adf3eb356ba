// kube-apiserver as the client of the store: ConfigMaps made, patched, listed, watched and deleted over
// plain HTTP, so that no cache and no retry of a client library comes between.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

const (
	configMaps = "/api/v1/namespaces/default/configmaps"
	mark       = `"written":"`
)

// kube sends requests to one kube-apiserver over a few connections.
type kube struct {
	base    string
	token   string
	clients []*http.Client
}

func newKube(o *Options) *kube {
	k := &kube{base: "https://" + o.Endpoint, token: o.Token}
	for range o.Conns {
		k.clients = append(k.clients, &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it made its certificate itself
			ForceAttemptHTTP2: true,
		}})
	}
	return k
}

func (k *kube) send(
	ctx context.Context, number int, method, path, content, body string,
) (*http.Response, error) {
	ask, err := http.NewRequestWithContext(ctx, method, k.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	ask.Header.Set("Authorization", "Bearer "+k.token)
	ask.Header.Set("Content-Type", content)
	answer, err := k.clients[number%len(k.clients)].Do(ask)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
		_ = answer.Body.Close()
		return nil, fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
	return answer, nil
}

// whole sends and reads the answer to its end.
func (k *kube) whole(
	ctx context.Context, w *Worker, method, path, content, body string,
) ([]byte, error) {
	answer, err := k.send(ctx, w.number, method, path, content, body)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	w.bytes += int64(len(text))
	return text, err
}

func configMapName(number int) string { return fmt.Sprintf("bench-%08d", number) }

// body is a ConfigMap of about --value-size bytes, stamped with the time.
func configMap(o *Options, number int) string {
	return fmt.Sprintf(
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{%s%s","value":"%s"}}`,
		configMapName(number), mark, strconv.FormatInt(int64(time.Since(epoch)), 10),
		strings.Repeat("x", o.ValueSize),
	)
}

// kubeCreate creates --keys ConfigMaps while --watchers watches are told of them.
func kubeCreate(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := newKube(o)
	_, now, err := k.page(ctx, &Worker{}, "?limit=1")
	if err != nil {
		return err
	}
	delivery := newTally("delivery")
	var open, all sync.WaitGroup
	var failed atomic.Bool
	for number := range o.Watchers {
		open.Add(1)
		all.Go(func() { k.watch(ctx, number, now.ResourceVersion, o.Keys, delivery, open.Done) })
	}
	open.Wait()
	delivery.begun = time.Now()
	made := k.run(ctx, o, "create", o.Keys, func(ctx context.Context, w *Worker, number int) error {
		_, err := k.whole(ctx, w, "POST", configMaps, "application/json", configMap(o, o.From+number))
		if err != nil {
			failed.Store(true)
		}
		return err
	})
	if failed.Load() {
		cancel()
	}
	all.Wait()
	delivery.stop()
	return errors.Join(made.print(), delivery.print())
}

// run is runOn without gRPC.
func (k *kube) run(ctx context.Context, o *Options, name string, total int, do doer) *Tally {
	return runOn(ctx, o, make([]*grpc.ClientConn, 1), name, total, do)
}

// watch follows the ConfigMaps until it has seen so many of ours. A kube-apiserver ends the watch of
// who is slow; as any client would, it goes on from the last version it saw, and that is counted.
func (k *kube) watch(
	ctx context.Context, number int, since string, wanted int, tally *Tally, ready func(),
) {
	ready = sync.OnceFunc(ready)
	defer ready()
	told := kubeEvents{since: since, wanted: wanted}
	resumed := -1
	var err error
	for err == nil && told.events < wanted {
		resumed++
		err = k.follow(ctx, number, &told, ready)
	}
	if err != nil {
		tally.fail(fmt.Errorf("after %d of %d events: %w", told.events, wanted, err))
	}
	tally.join(&told.times, told.events, told.bytes, 0)
	tally.resumed(max(resumed, 0))
}

type kubeEvents struct {
	since          string
	events, wanted int
	bytes          int64
	times          Histogram
}

// follow reads one watch until all has come or the server ends it.
func (k *kube) follow(ctx context.Context, number int, told *kubeEvents, ready func()) error {
	path := configMaps + "?watch=1&timeoutSeconds=3000&resourceVersion=" + told.since
	answer, err := k.send(ctx, number, "GET", path, "application/json", "")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	ready()
	lines := bufio.NewReaderSize(answer.Body, 1<<16)
	for told.events < told.wanted {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := told.take(line); err != nil {
			return err
		}
	}
	return nil
}

func (t *kubeEvents) take(line []byte) error {
	if bytes.HasPrefix(line, []byte(`{"type":"ERROR"`)) {
		return fmt.Errorf("the watch ended: %.300s", line)
	}
	t.bytes += int64(len(line))
	if version := quoted(line, `"resourceVersion":"`); version != "" {
		t.since = version
	}
	written := quoted(line, mark)
	if written == "" || !bytes.HasPrefix(line, []byte(`{"type":"ADDED"`)) {
		return nil
	}
	nanos, err := strconv.ParseInt(written, 10, 64)
	if err != nil {
		return err
	}
	t.times.add(time.Since(epoch) - time.Duration(nanos))
	t.events++
	return nil
}

// quoted is what stands between `before` and the next quote.
func quoted(line []byte, before string) string {
	_, after, _ := bytes.Cut(line, []byte(before))
	text, _, _ := bytes.Cut(after, []byte(`"`))
	return string(text)
}

func kubePatch(ctx context.Context, o *Options) error {
	k := newKube(o)
	return k.run(ctx, o, "patch", o.Total, func(ctx context.Context, w *Worker, number int) error {
		path := configMaps + "/" + configMapName(o.From+number%o.Keys)
		body := fmt.Sprintf(`{"metadata":{"annotations":{"turn":"%d"}}}`, number+1)
		_, err := k.whole(ctx, w, "PATCH", path, "application/merge-patch+json", body)
		return err
	}).print()
}

func kubeDelete(ctx context.Context, o *Options) error {
	k := newKube(o)
	return k.run(ctx, o, "delete", o.Keys, func(ctx context.Context, w *Worker, number int) error {
		path := configMaps + "/" + configMapName(o.From+number)
		_, err := k.whole(ctx, w, "DELETE", path, "application/json", "")
		return err
	}).print()
}

// kubeList reads all ConfigMaps --total times, in pages of --limit if one is given. Without
// resourceVersion, so that each list has to agree with the store.
func kubeList(ctx context.Context, o *Options) error {
	k := newKube(o)
	return k.run(ctx, o, "list", o.Total, func(ctx context.Context, w *Worker, _ int) error {
		keys := int64(0)
		for token := ""; ; {
			query := fmt.Sprintf("?limit=%d&continue=%s", o.Limit, url.QueryEscape(token))
			text, head, err := k.page(ctx, w, query)
			if err != nil {
				return err
			}
			keys += int64(bytes.Count(text, []byte(mark)))
			if token = head.Continue; token == "" {
				break
			}
		}
		w.keys += keys
		return expect(keys, o.Keys)
	}).print()
}

type listHead struct {
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

// page gets a list; only what stands before its items is decoded.
func (k *kube) page(ctx context.Context, w *Worker, query string) ([]byte, listHead, error) {
	var list struct {
		Metadata listHead `json:"metadata"`
	}
	text, err := k.whole(ctx, w, "GET", configMaps+query, "application/json", "")
	if err != nil {
		return nil, list.Metadata, err
	}
	head, _, cut := bytes.Cut(text, []byte(`,"items":`))
	if cut {
		head = append(append([]byte(nil), head...), '}')
	}
	err = json.Unmarshal(head, &list)
	return text, list.Metadata, err
}

// keygen prints a private key: kube-apiserver does not start without one.
func keygen(context.Context, *Options) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return pem.Encode(os.Stdout, block)
}
