------------------------------- MODULE Lease -------------------------------
(* The sequencer lease: who may allocate, and until when. It is a record of  *)
(* the replicated log, {reign, holder, number of the renewal, released}.     *)
(*                                                                           *)
(* The log is one register that takes whole commands; a command takes effect *)
(* at any time after it was handed in, its answer comes at any time after    *)
(* that. There is one true time; a pause is any number of ticks between two  *)
(* steps of a node. (Clocks that drift are a factor on the wait, not here.)  *)
(*                                                                           *)
(* Mut holds the names of planted faults, as in Spine.tla.                   *)
EXTENDS Naturals, FiniteSets, TLC
CONSTANTS TTL, Tmax,         \* length of a lease, end of time
          MaxCep, MaxRenew,  \* reigns; renewals of one reign
          Mut
Nodes == {1, 2}
M(x) == x \in Mut

VARIABLES
  now,
  rec,     \* the record: c reign, h holder, k number of the renewal, rel: released
  props,   \* commands handed in and not yet in effect
  n,       \* node: cep its reign (0: none), until: end of its lease as it reckons,
           \* sent, t0, k, tries: the command under way, when it was handed in first, how often;
           \* vc, vk, vrel, at: what it last applied of the record, and when; out: it released;
           \* batch: "no", "coll" (requests collected), "chk" (lease checked); floor: the highest
           \* reign that had answered anybody when the batch's requests were sent
  served,  \* the highest reign that has answered a request
  err
vars == <<now, rec, props, n, served, err>>

Init ==
  /\ now = 0 /\ rec = [c |-> 1, h |-> 1, k |-> 0, rel |-> FALSE]
  /\ props = {} /\ served = 0 /\ err = ""
  /\ n = [i \in Nodes |->
           [cep |-> IF i = 1 THEN 1 ELSE 0, until |-> IF i = 1 THEN TTL ELSE 0,
            sent |-> "no", t0 |-> 0, k |-> 0, tries |-> 0,
            vc |-> 1, vk |-> 0, vrel |-> FALSE, at |-> 0,
            batch |-> "no", floor |-> 0, out |-> FALSE]]
U(i, r) == n' = [n EXCEPT ![i] = r]

Tick == /\ now < Tmax /\ now' = now + 1 /\ UNCHANGED <<rec, props, n, served, err>>

\* A node applies what the log holds.
See(i) ==
  /\ <<n[i].vc, n[i].vk, n[i].vrel>> # <<rec.c, rec.k, rec.rel>>
  /\ U(i, [n[i] EXCEPT !.vc = rec.c, !.vk = rec.k, !.vrel = rec.rel, !.at = now])
  /\ UNCHANGED <<now, rec, props, served, err>>

\* t0 is read before the command is handed in.
Renew(i) == LET r == n[i] IN
  /\ r.cep > 0 /\ ~r.out /\ r.sent = "no" /\ r.vc = r.cep /\ r.vk < MaxRenew
  /\ props' = props \cup {[typ |-> "renew", i |-> i, c |-> r.cep, k |-> r.vk]}
  /\ U(i, [r EXCEPT !.sent = "renew", !.t0 = now, !.k = r.vk])
  /\ UNCHANGED <<now, rec, served, err>>

\* No answer: the same command is handed in again, and takes effect once (the compare of k sees to
\* it). retryNewT0: the lease is reckoned from the repetition.
Retry(i) == LET r == n[i] IN
  /\ r.sent = "renew" /\ r.tries < 1
  /\ props' = props \cup {[typ |-> "renew", i |-> i, c |-> r.cep, k |-> r.k]}
  /\ U(i, [r EXCEPT !.tries = @ + 1, !.t0 = IF M("retryNewT0") THEN now ELSE @])
  /\ UNCHANGED <<now, rec, served, err>>

\* A successor waits a whole TTL since it applied the last renewal. noWait: it does not.
Acquire(i) == LET r == n[i] IN
  /\ r.cep = 0 /\ r.sent = "no" /\ r.vc < MaxCep
  /\ now > r.at + TTL \/ r.vrel \/ M("noWait")
  /\ props' = props \cup {[typ |-> "acq", i |-> i, c |-> r.vc, k |-> r.vk]}
  /\ U(i, [r EXCEPT !.sent = "acq", !.t0 = now])
  /\ UNCHANGED <<now, rec, served, err>>

\* The holder leaves: nothing in hand, and nothing more from the moment it hands the command in
\* (M9). releaseWithBatch: with a batch in hand. serveAfterRelease: it goes on until it is answered.
Release(i) == LET r == n[i] IN
  /\ r.cep > 0 /\ ~r.out /\ r.sent = "no" /\ r.vc = r.cep
  /\ r.batch = "no" \/ M("releaseWithBatch")
  /\ props' = props \cup {[typ |-> "rel", i |-> i, c |-> r.cep, k |-> r.vk]}
  /\ U(i, [r EXCEPT !.out = ~M("serveAfterRelease"), !.sent = "rel"])
  /\ UNCHANGED <<now, rec, served, err>>

\* A command takes effect if reign and renewal are those it names. noRenewCas: if the reign is.
Commit(m) ==
  /\ props' = props \ {m}
  /\ rec' = IF rec.c # m.c \/ (rec.k # m.k /\ ~M("noRenewCas")) THEN rec
            ELSE CASE m.typ = "renew" -> [rec EXCEPT !.k = @ + 1]
                   [] m.typ = "acq" -> [c |-> rec.c + 1, h |-> m.i, k |-> 0, rel |-> FALSE]
                   [] m.typ = "rel" -> [rec EXCEPT !.rel = TRUE]
  /\ UNCHANGED <<now, n, served, err>>

\* A node learns what became of its command: renewed, acquired, deposed, or beaten by another.
\* ackT0: the lease is reckoned from the answer.
Ack(i) ==
  LET r == n[i]
      seen == [r EXCEPT !.sent = "no", !.vc = rec.c, !.vk = rec.k, !.vrel = rec.rel, !.at = now] IN
  /\ \/ /\ r.sent = "renew" /\ rec.c = r.cep /\ rec.k > r.k
        /\ U(i, [r EXCEPT !.sent = "no", !.tries = 0, !.until = r.t0 + TTL, !.vk = rec.k,
                          !.at = now])
     \/ /\ r.sent = "acq" /\ rec.h = i /\ rec.c > r.cep
        /\ U(i, [seen EXCEPT !.cep = rec.c,
                             !.until = (IF M("ackT0") THEN now ELSE r.t0) + TTL])
     \/ /\ r.sent \in {"renew", "rel"} /\ rec.c > r.cep
        /\ U(i, [seen EXCEPT !.cep = 0, !.tries = 0, !.out = FALSE, !.batch = "no"])
     \/ /\ r.sent = "acq" /\ ((rec.c > r.vc /\ rec.h # i) \/ (rec.c = r.vc /\ rec.k > r.vk))
        /\ U(i, [r EXCEPT !.sent = "no"])
  /\ UNCHANGED <<now, rec, props, served, err>>

-----------------------------------------------------------------------------
(* Serving: collect what has arrived, check the lease, then allocate and     *)
(* answer. checkThenCollect turns the first two round, noCheck drops one.    *)

Collect(i) == LET r == n[i] IN
  /\ r.cep > 0 /\ ~r.out /\ r.batch = (IF M("checkThenCollect") THEN "chk" ELSE "no")
  /\ U(i, [r EXCEPT !.batch = "coll", !.floor = served])
  /\ UNCHANGED <<now, rec, props, served, err>>

Check(i) == LET r == n[i] IN
  /\ r.cep > 0 /\ ~r.out /\ r.batch = (IF M("checkThenCollect") THEN "no" ELSE "coll")
  /\ now < r.until \/ M("noCheck")
  /\ U(i, [r EXCEPT !.batch = "chk"])
  /\ UNCHANGED <<now, rec, props, served, err>>

\* Any time after the check.
Answer(i) == LET r == n[i] IN
  /\ r.cep > 0 /\ r.batch = (IF M("checkThenCollect") THEN "coll" ELSE "chk")
  /\ err' = IF r.out THEN "allocates above the hi it released"
            ELSE IF r.floor > r.cep
            THEN "asked after a higher reign had answered, got a lower revision"
            ELSE err
  /\ served' = IF r.cep > served THEN r.cep ELSE served
  /\ U(i, [r EXCEPT !.batch = "no", !.floor = 0])
  /\ UNCHANGED <<now, rec, props>>

Next ==
  \/ Tick
  \/ \E i \in Nodes : \/ See(i) \/ Renew(i) \/ Retry(i) \/ Acquire(i) \/ Release(i) \/ Ack(i)
                      \/ Collect(i) \/ Check(i) \/ Answer(i)
  \/ \E m \in props : Commit(m)
Spec == Init /\ [][Next]_vars
NoErr == err = ""
\* Never do two nodes both believe in their lease.
OneLease == \A i, j \in Nodes : i # j /\ n[i].cep > 0 /\ n[j].cep > 0 /\ ~n[i].out /\ ~n[j].out
              => ~(now < n[i].until /\ now < n[j].until)
=============================================================================
