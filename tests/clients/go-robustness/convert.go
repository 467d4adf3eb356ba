package main

import (
	"github.com/anishathalye/porcupine"

	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
)

// reports gives etcd's validators the history in their own words: a report for each client.
func (h *history) reports() []report.ClientReport {
	byClient := map[int]*report.ClientReport{}
	var order []int
	of := func(client int) *report.ClientReport {
		if _, ok := byClient[client]; !ok {
			byClient[client] = &report.ClientReport{ClientID: client}
			order = append(order, client)
		}
		return byClient[client]
	}
	claims := h.claims()
	for _, call := range h.calls {
		if operation, ok := h.operation(call, claims); ok {
			r := of(call.Client)
			r.KeyValue = append(r.KeyValue, operation)
		}
	}
	// The watchers' own numbers begin behind those of all clients.
	next := 1 << 20
	watchers := map[string]int{}
	for _, w := range h.watches {
		if _, ok := watchers[w.Watcher]; !ok {
			next++
			watchers[w.Watcher] = next
		}
		r := of(watchers[w.Watcher])
		r.Watch = append(r.Watch, h.watch(w))
	}
	all := make([]report.ClientReport, 0, len(order))
	for _, client := range order {
		all = append(all, *byClient[client])
	}
	return all
}

// persisted is what etcd would have in its log: each change, in order. A lease is not needed here, as
// the replay needs the changes alone.
func (h *history) persisted() []model.EtcdRequest {
	requests := make([]model.EtcdRequest, 0, len(h.revisions))
	for _, revision := range h.revisions {
		var ops []model.EtcdOperation
		for _, e := range h.changes[revision] {
			if e.Put {
				put := model.PutOptions{Key: e.Row.Key, Value: model.ToValueOrHash(e.Row.Value)}
				ops = append(ops, model.EtcdOperation{Type: model.PutOperation, Put: put})
			} else {
				del := model.DeleteOptions{Key: e.Row.Key}
				ops = append(ops, model.EtcdOperation{Type: model.DeleteOperation, Delete: del})
			}
		}
		txn := &model.TxnRequest{OperationsOnSuccess: ops}
		requests = append(requests, model.EtcdRequest{Type: model.Txn, Txn: txn})
	}
	return requests
}

// claims tells which deletions, by revision, were answered to a transaction. Those that are left were
// made by revokes, whose headers may tell a later revision, and by calls that were not answered.
func (h *history) claims() map[int64]bool {
	claimed := map[int64]bool{}
	for _, call := range h.calls {
		for _, r := range call.Results {
			if call.Kind == "txn" && r.Deleted > 0 {
				claimed[call.Revision] = true
			}
		}
	}
	return claimed
}

// operation is one call, or false for one that the model does not know or that surely did nothing.
func (h *history) operation(call line, claimed map[int64]bool) (porcupine.Operation, bool) {
	operation := porcupine.Operation{
		ClientId: call.Client,
		Call:     call.Called - h.start,
		Return:   call.Returned - h.start,
	}
	var output model.MaybeEtcdResponse
	ok := call.Outcome == "ok"
	switch call.Kind {
	case "range":
		if !ok || call.Request.CountOnly {
			return operation, false
		}
		operation.Input = h.rangeRequest(call.Request)
		page := h.page(call.Results[0])
		output.EtcdResponse = model.EtcdResponse{Range: &page, Revision: h.dense(call.Revision)}
	case "txn":
		if call.Outcome == "refused" {
			return operation, false
		}
		operation.Input = h.txnRequest(call)
		switch {
		case ok:
			output.EtcdResponse = h.txnResponse(call)
		case call.Then[0].Op == "delete":
			revision, found := h.unclaimed(call, claimed, func(e event) bool {
				return e.Row.Key == call.Then[0].Key && e.Previous != nil && e.Previous.Mod == call.Compares[0].Mod
			})
			if !found {
				return operation, false
			}
			operation.Return, output = h.persistedAt(revision)
		default:
			revision, found := h.written(call.Then[0])
			if !found {
				return operation, false
			}
			operation.Return, output = h.persistedAt(revision)
		}
	case "grant":
		if !ok {
			return operation, false // nobody uses the lease, so nobody can tell
		}
		grant := &model.LeaseGrantRequest{LeaseID: call.Request.Lease}
		operation.Input = model.EtcdRequest{Type: model.LeaseGrant, LeaseGrant: grant}
		output.EtcdResponse = model.EtcdResponse{
			LeaseGrant: &model.LeaseGrantResponse{}, Revision: h.dense(call.Revision),
		}
	case "revoke":
		if call.Outcome == "refused" {
			return operation, false
		}
		revoke := &model.LeaseRevokeRequest{LeaseID: call.Request.Lease}
		operation.Input = model.EtcdRequest{Type: model.LeaseRevoke, LeaseRevoke: revoke}
		revision, found := h.unclaimed(call, claimed, func(e event) bool {
			return e.Previous != nil && e.Previous.Lease == call.Request.Lease
		})
		if !found {
			return operation, false
		}
		returned := operation.Return
		operation.Return, output = h.persistedAt(revision)
		if ok {
			operation.Return = returned
		}
	case "compact":
		if !ok {
			return operation, false
		}
		compact := &model.CompactRequest{Revision: h.dense(call.Request.Revision)}
		operation.Input = model.EtcdRequest{Type: model.Compact, Compact: compact}
		output.EtcdResponse = model.EtcdResponse{
			Compact: &model.CompactResponse{}, Revision: model.RevisionForNonLinearizableResponse,
		}
	default:
		return operation, false // keepalives: the model has none
	}
	operation.Output, operation.Metadata = output, output
	return operation, true
}

// unclaimed finds the deletion that only this call can have made, behind the moment it was called.
func (h *history) unclaimed(call line, claimed map[int64]bool, made func(event) bool) (int64, bool) {
	for _, revision := range h.revisions {
		if claimed[revision] || h.toldAt[revision] <= call.Called {
			continue
		}
		for _, e := range h.changes[revision] {
			if !e.Put && made(e) {
				claimed[revision] = true
				return revision, true
			}
		}
	}
	return 0, false
}

// written finds the change that put a value, which only one call has.
func (h *history) written(put op) (int64, bool) {
	for _, revision := range h.revisions {
		for _, e := range h.changes[revision] {
			if e.Put && e.Row.Key == put.Key && e.Row.Value == put.Value {
				return revision, true
			}
		}
	}
	return 0, false
}

// persistedAt is the answer to a call that nobody saw, and by when it must have taken effect: when
// somebody was told of the change.
func (h *history) persistedAt(revision int64) (int64, model.MaybeEtcdResponse) {
	output := model.MaybeEtcdResponse{Persisted: true, PersistedRevision: h.dense(revision)}
	return h.toldAt[revision] - h.start, output
}

func (h *history) rangeRequest(r request) model.EtcdRequest {
	options := model.RangeOptions{Start: r.Key, End: r.End, Limit: r.Limit}
	ranged := &model.RangeRequest{RangeOptions: options}
	if r.Revision != 0 {
		ranged.Revision = h.dense(r.Revision)
	}
	return model.EtcdRequest{Type: model.Range, Range: ranged}
}

func (h *history) txnRequest(call line) model.EtcdRequest {
	txn := &model.TxnRequest{
		OperationsOnSuccess: operations(call.Then),
		OperationsOnFailure: operations(call.Else),
	}
	for _, c := range call.Compares {
		condition := model.EtcdCondition{Key: c.Key, ExpectedRevision: h.denseMod(c.Mod)}
		txn.Conditions = append(txn.Conditions, condition)
	}
	return model.EtcdRequest{Type: model.Txn, Txn: txn}
}

func operations(ops []op) []model.EtcdOperation {
	var converted []model.EtcdOperation
	for _, o := range ops {
		switch o.Op {
		case "put":
			put := model.PutOptions{Key: o.Key, Value: model.ToValueOrHash(o.Value), LeaseID: o.Lease}
			converted = append(converted, model.EtcdOperation{Type: model.PutOperation, Put: put})
		case "delete":
			del := model.DeleteOptions{Key: o.Key}
			converted = append(converted, model.EtcdOperation{Type: model.DeleteOperation, Delete: del})
		default:
			get := model.RangeOptions{Start: o.Key}
			converted = append(converted, model.EtcdOperation{Type: model.RangeOperation, Range: get})
		}
	}
	return converted
}

func (h *history) txnResponse(call line) model.EtcdResponse {
	ops := call.Then
	if !call.Succeeded {
		ops = call.Else
	}
	results := make([]model.EtcdOperationResult, len(call.Results))
	for i, r := range call.Results {
		results[i].Deleted = r.Deleted
		if i < len(ops) && ops[i].Op == "get" {
			results[i].RangeResponse = h.page(r)
		}
	}
	txn := &model.TxnResponse{Failure: !call.Succeeded, Results: results}
	return model.EtcdResponse{Txn: txn, Revision: h.dense(call.Revision)}
}

func (h *history) page(r result) model.RangeResponse {
	rows := make([]model.KeyValue, 0, len(r.Rows))
	for _, each := range r.Rows {
		rows = append(rows, model.KeyValue{Key: each.Key, ValueRevision: h.value(each)})
	}
	return model.RangeResponse{KVs: rows, Count: r.Total}
}

func (h *history) value(r row) model.ValueRevision {
	return model.ValueRevision{
		Value: model.ToValueOrHash(r.Value), ModRevision: h.dense(r.Mod), Version: r.Version,
	}
}

func (h *history) watch(w line) model.WatchOperation {
	key := w.Key
	if key == everything {
		key = ""
	}
	operation := model.WatchOperation{Request: model.WatchRequest{
		Key: key, Revision: h.denseStart(w.Start), WithPrefix: true, WithPrevKV: w.PrevKV,
	}}
	for _, t := range w.Told {
		if !t.Bookmark && len(t.Events) == 0 {
			continue // created or cancelled, which a client of clientv3 is not shown
		}
		response := model.WatchResponse{IsProgressNotify: t.Bookmark, Revision: h.dense(t.Revision)}
		for _, e := range t.Events {
			response.Events = append(response.Events, h.event(e))
		}
		operation.Responses = append(operation.Responses, response)
	}
	return operation
}

func (h *history) event(e event) model.WatchEvent {
	converted := model.WatchEvent{PersistedEvent: model.PersistedEvent{
		Event:    model.Event{Type: model.DeleteOperation, Key: e.Row.Key},
		Revision: h.dense(e.Row.Mod),
	}}
	if e.Put {
		converted.Type, converted.Value = model.PutOperation, model.ToValueOrHash(e.Row.Value)
		converted.IsCreate = e.Row.Create == e.Row.Mod
	}
	if e.Previous != nil {
		previous := h.value(*e.Previous)
		converted.PrevValue = &previous
	}
	return converted
}
