module store

// ngaut/unistore has no go.mod: what it needs is named here. All of 2021, so that they agree.
go 1.16

require (
	github.com/BurntSushi/toml v0.3.1
	github.com/cznic/mathutil v0.0.0-20181122101859-297441e03548
	github.com/dgryski/go-farm v0.0.0-20190423205320-6a90982ecee2
	github.com/gogo/protobuf v1.3.2
	github.com/golang/protobuf v1.3.4
	github.com/google/btree v1.0.0
	github.com/ngaut/unistore v0.0.0-20210719114803-9cf36a97f8a1
	github.com/pierrec/lz4 v2.5.2+incompatible
	github.com/pingcap/badger v1.5.1-0.20200908111422-2e78ee155d19
	github.com/pingcap/errors v0.11.5-0.20201126102027-b0a155152ca3
	github.com/pingcap/kvproto v0.0.0-20210722112940-1a69d0b093f1
	github.com/pingcap/log v0.0.0-20201112100606-8f1e84a3abc8
	github.com/pingcap/tidb v1.1.0-beta.0.20210319021734-e79ac3d978cf
	github.com/pingcap/tipb v0.0.0-20210309080453-72c4feaa6da7
	github.com/prometheus/client_golang v1.5.1
	github.com/shirou/gopsutil v3.21.2+incompatible
	github.com/tikv/pd v1.1.0-beta.0.20210323121136-78679e5e209d
	github.com/uber-go/atomic v1.4.0
	github.com/zhangjinpeng1987/raft v0.0.0-20200819064223-df31bb68a018
	go.uber.org/zap v1.16.0
	google.golang.org/grpc v1.27.1
)

replace go.etcd.io/etcd => github.com/zhangjinpeng1987/etcd v0.5.0-alpha.5.0.20201117041249-9487a87e2cbd
