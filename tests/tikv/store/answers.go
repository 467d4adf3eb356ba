package main

import (
	"context"

	"github.com/ngaut/unistore/tikv"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

// answers are the library's, made as TiKV gives them where a client would see the difference.
type answers struct{ *tikv.Server }

// KvGet: the library tells of a key that is not there by an empty value alone.
func (a answers) KvGet(ctx context.Context, asked *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	got, err := a.Server.KvGet(ctx, asked)
	if err == nil && got.Error == nil && got.RegionError == nil {
		got.NotFound = len(got.Value) == 0
	}
	return got, err
}

// KvScan: the library sends the values also to who wants keys only.
func (a answers) KvScan(ctx context.Context, asked *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	got, err := a.Server.KvScan(ctx, asked)
	if err == nil && asked.KeyOnly {
		for _, pair := range got.Pairs {
			pair.Value = nil
		}
	}
	return got, err
}

// KvPrewrite: the list of secondaries is for asynchronous commits. The client always sends it, and the library copies
// it into every lock, so that a transaction would take the square of its keys.
func (a answers) KvPrewrite(ctx context.Context, asked *kvrpcpb.PrewriteRequest) (*kvrpcpb.PrewriteResponse, error) {
	if !asked.UseAsyncCommit {
		asked.Secondaries = nil
	}
	return a.Server.KvPrewrite(ctx, asked)
}
