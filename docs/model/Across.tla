------------------------------- MODULE Across -------------------------------
(* A transaction over two tablets as the code does it; tablet 1 is the       *)
(* primary. Txn.tla is the design; here ABORT has no cell (it is presumed),  *)
(* each participant gives its batch slot before it prepares, the joint Alloc *)
(* is bound to lanes, and the primary's store is the cell.                   *)
(*                                                                           *)
(* The order: LOCK each, in one order; PREPARE (a durable intent); one Alloc *)
(* that is refused if an owner has asked the sequencer since; COMMIT at the  *)
(* primary, which applies its share and decides in one batch; APPLY at the   *)
(* other; FORGET. Whoever waits too long with an intent asks the primary,    *)
(* and what the primary has not decided it drops.                            *)
(*                                                                           *)
(* Mut holds the names of planted faults, as in Spine.tla.                   *)
EXTENDS Naturals, FiniteSets, TLC
CONSTANTS Win, MaxCep, NW, NR,   \* window, reigns, local writes, reads: as in Spine.tla
          NFail,                 \* failovers of an owner
          Mut
Tb == {1, 2}
M(x) == x \in Mut
Max(a, b) == IF a > b THEN a ELSE b

VARIABLES
  cep,     \* the newest reign
  nx, last,  \* reign -> next revision; reign -> last[t]
  req,     \* reign -> tablet -> the owner's newest Alloc there: its epoch and its number
  p,       \* participant: ep owner epoch, cep the reign it knows, pv the reign that has accepted it
           \* (0: it has to register), n its Allocs, cl closed[t], lane: "idle", "local" (write with
           \* revision r, asked when fl was acknowledged), "lock", "int" (the intent is durable)
  log,     \* tablet -> durable revisions
  cell,    \* the decision at the primary: its revision; 0: none
  co,      \* router: st "run", "alloc", "have", "gone" (nothing was decided), "done"; lk: locked,
           \* sent: prepares on their way, ack: prepared, ln: the lane of each, g: the reign of
           \* each; r its revision, asked when fl was acknowledged
  nw, nr, nf,  \* budgets spent
  rd, rmax, ackmax, err  \* as in Txn.tla
vars == <<cep, nx, last, req, p, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

B(c) == (c - 1) * Win
NoRd == [st |-> "no", R |-> 0, last |-> [t \in Tb |-> 0], fl |-> 0, got |-> {}, seen |-> {}]

Init ==
  /\ cep = 1 /\ nx = [c \in 1..MaxCep |-> B(c) + 1]
  /\ last = [c \in 1..MaxCep |-> [t \in Tb |-> B(c)]]
  /\ req = [c \in 1..MaxCep |-> [t \in Tb |-> <<0, 0>>]]
  /\ p = [t \in Tb |-> [ep |-> 1, cep |-> 1, pv |-> 0, n |-> 0, lane |-> "idle", r |-> 0,
                        fl |-> 0, cl |-> 0]]
  /\ log = [t \in Tb |-> {}] /\ cell = 0
  /\ co = [st |-> "run", lk |-> {}, sent |-> {}, ack |-> {}, ln |-> [t \in Tb |-> <<0, 0>>],
           g |-> [t \in Tb |-> 0], r |-> 0, fl |-> 0]
  /\ nw = 0 /\ nr = 0 /\ nf = 0 /\ rd = NoRd /\ rmax = 0 /\ ackmax = 0 /\ err = ""

\* What a client could notice when revision r lands in tablet t.
Bad(t, r, fl) == IF r <= rmax THEN "snapshot changes after it was read"
                 ELSE IF r <= fl THEN "real-time order"
                 ELSE IF \E x \in log[t] : x >= r THEN "tablet revisions go down"
                 ELSE IF r <= p[t].cl THEN "commit at or below closed" ELSE err

-----------------------------------------------------------------------------
(* The owner alone                                                           *)

\* An Alloc of nothing that names all its tablets: whatever else was handed out is void.
Register(t) ==
  /\ p[t].lane = "idle" \/ (M("regWithIntent") /\ p[t].lane = "int")
  /\ p[t].cep = cep /\ p[t].pv # cep
  /\ req' = [req EXCEPT ![cep][t] = <<p[t].ep, p[t].n + 1>>]
  /\ p' = [p EXCEPT ![t].n = @ + 1, ![t].pv = cep, ![t].cl = Max(@, last[cep][t])]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* Who has given its slot takes no other write.
LocalAlloc(t) ==
  /\ nw < NW /\ p[t].lane = "idle" /\ p[t].cep = cep /\ p[t].pv = cep /\ nx[cep] <= B(cep) + Win
  /\ nw' = nw + 1 /\ nx' = [nx EXCEPT ![cep] = @ + 1]
  /\ last' = [last EXCEPT ![cep][t] = nx[cep]]
  /\ req' = [req EXCEPT ![cep][t] = <<p[t].ep, p[t].n + 1>>]
  /\ p' = [p EXCEPT ![t].n = @ + 1, ![t].lane = "local", ![t].r = nx[cep], ![t].fl = ackmax]
  /\ UNCHANGED <<cep, log, cell, co, nr, nf, rd, rmax, ackmax, err>>

LocalCommit(t) ==
  /\ p[t].lane = "local" /\ err' = Bad(t, p[t].r, p[t].fl)
  /\ log' = [log EXCEPT ![t] = @ \cup {p[t].r}] /\ ackmax' = Max(ackmax, p[t].r)
  /\ p' = [p EXCEPT ![t].lane = "idle", ![t].cl = Max(@, p[t].r), ![t].r = 0]
  /\ UNCHANGED <<cep, nx, last, req, cell, co, nw, nr, nf, rd, rmax>>

-----------------------------------------------------------------------------
(* The transaction                                                           *)

\* Sent once to each, to the primary first; it lands whenever the slot is free, if the present
\* reign has accepted the owner.
Lock(t) ==
  /\ co.st = "run" /\ t \notin co.lk /\ (t = 2 => 1 \in co.lk)
  /\ p[t].lane = "idle" /\ p[t].pv = p[t].cep
  /\ p' = [p EXCEPT ![t].lane = "lock"] /\ co' = [co EXCEPT !.lk = @ \cup {t}]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* A lock without a next step ends, whatever its router thinks.
Unlock(t) ==
  /\ p[t].lane = "lock" /\ p' = [p EXCEPT ![t].lane = "idle"]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

PrepSend ==
  /\ co.st = "run" /\ co.lk = Tb /\ co.sent = {} /\ co' = [co EXCEPT !.sent = Tb]
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* prepareWithoutLock: another write may have come in between.
PrepLand(t) ==
  /\ t \in co.sent /\ (p[t].lane = "lock" \/ (M("prepareWithoutLock") /\ p[t].lane = "idle"))
  /\ p[t].pv = p[t].cep /\ p' = [p EXCEPT ![t].lane = "int"]
  /\ co' = [co EXCEPT !.sent = @ \ {t}, !.ack = @ \cup {t}, !.ln[t] = <<p[t].ep, p[t].n>>,
                      !.g[t] = p[t].cep]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

PrepLost(t) ==
  /\ t \in co.sent /\ co' = [co EXCEPT !.sent = @ \ {t}]
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* allocEarly: a revision before the other has prepared.
CoSend ==
  /\ co.st = "run" /\ ((co.ack = Tb /\ co.g[1] = co.g[2]) \/ (M("allocEarly") /\ 1 \in co.ack))
  /\ co' = [co EXCEPT !.st = "alloc", !.fl = ackmax]
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* The sequencer of the reign in which all prepared, however late; one that is over knows no newer
\* owner epochs. noLanes: it does not look whether an owner has asked it again since.
CoAlloc == LET c == co.g[1] IN
  /\ co.st = "alloc" /\ nx[c] <= B(c) + Win
  /\ \/ M("noLanes") \/ M("allocEarly")
     \/ \A t \in Tb : req[c][t] = co.ln[t]
  /\ (\A t \in Tb : co.ln[t][1] = p[t].ep) \/ c < cep \/ M("allocEarly")
  /\ nx' = [nx EXCEPT ![c] = @ + 1] /\ last' = [last EXCEPT ![c] = [t \in Tb |-> nx[c]]]
  /\ co' = [co EXCEPT !.st = "have", !.r = nx[c]]
  /\ UNCHANGED <<cep, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

CoGiveUp ==
  /\ co.st \in {"run", "alloc"} /\ co' = [co EXCEPT !.st = "gone"]
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* COMMIT lands whenever it does, or never (DecideLost). The primary takes it only while it holds
\* its own share; the client is answered here.
Decide ==
  /\ co.st = "have"
  /\ IF p[1].lane = "int"
     THEN /\ cell' = co.r /\ err' = Bad(1, co.r, co.fl)
          /\ log' = [log EXCEPT ![1] = @ \cup {co.r}]
          /\ p' = [p EXCEPT ![1].lane = "idle", ![1].cl = Max(@, co.r), ![1].pv = 0]
          /\ ackmax' = Max(ackmax, co.r) /\ co' = [co EXCEPT !.st = "done"]
     ELSE /\ cell' = IF M("decideWithoutIntent") THEN co.r ELSE cell
          /\ ackmax' = IF M("decideWithoutIntent") THEN Max(ackmax, co.r) ELSE ackmax
          /\ co' = [co EXCEPT !.st = IF M("decideWithoutIntent") THEN "done" ELSE "gone"]
          /\ UNCHANGED <<p, log, err>>
  /\ UNCHANGED <<cep, nx, last, req, nw, nr, nf, rd, rmax>>

DecideLost ==
  /\ co.st = "have" /\ co' = [co EXCEPT !.st = "done"]
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* An intent goes without a revision. One may have been handed out for it: the owner registers
\* anew, which closes past it. noRegister: it does not.
Void(t) == [p EXCEPT ![t].lane = "idle", ![t].pv = IF M("noRegister") THEN @ ELSE 0]

\* The primary gives up by itself: no row says so.
Drop ==
  /\ p[1].lane = "int" /\ p' = Void(1)
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* ABORT at the other, of a router that knows that nothing was decided. abortInDoubt: also of one
\* whose COMMIT may have landed.
Abort ==
  /\ p[2].lane = "int" /\ (co.st = "gone" \/ (M("abortInDoubt") /\ co.st = "done")) /\ p' = Void(2)
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

Apply ==
  /\ p[2].lane = "int" /\ cell # 0 /\ err' = Bad(2, cell, co.fl)
  /\ log' = [log EXCEPT ![2] = @ \cup {cell}]
  /\ p' = [p EXCEPT ![2].lane = "idle", ![2].cl = Max(@, cell), ![2].pv = 0]
  /\ UNCHANGED <<cep, nx, last, req, cell, co, nw, nr, nf, rd, rmax, ackmax>>

\* RESOLVE: the primary has no decision; whatever it holds of the transaction it drops before it
\* says so. resolveKeeps: it only says so.
Resolve ==
  /\ p[2].lane = "int" /\ cell = 0
  /\ LET drops == p[1].lane \in {"lock", "int"} /\ ~M("resolveKeeps") IN
     p' = [Void(2) EXCEPT ![1].lane = IF drops THEN "idle" ELSE @,
                          ![1].pv = IF drops /\ p[1].lane = "int" THEN Void(1)[1].pv ELSE @]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* gcCell: before the other has applied it.
Forget ==
  /\ cell # 0 /\ (p[2].lane # "int" \/ M("gcCell")) /\ cell' = 0
  /\ UNCHANGED <<cep, nx, last, req, p, log, co, nw, nr, nf, rd, rmax, ackmax, err>>

-----------------------------------------------------------------------------
(* Failover and takeover                                                     *)

\* A start takes a new epoch and closes at H, but not where an intent waits; the primary drops its
\* own before it answers anybody (primaryKeeps: it does not). A lock is lost with the memory.
Failover(t) ==
  /\ nf < NFail /\ nf' = nf + 1
  /\ LET stays == p[t].lane = "int" /\ (t = 2 \/ M("primaryKeeps")) IN
     p' = [p EXCEPT ![t].ep = @ + 1, ![t].n = 0, ![t].pv = 0, ![t].cep = cep, ![t].r = 0,
                    ![t].lane = IF stays THEN "int" ELSE "idle",
                    ![t].cl = IF p[t].lane = "int" /\ ~M("adoptIgnoresIntent")
                              THEN @ ELSE Max(@, last[cep][t])]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, rd, rmax, ackmax, err>>

Takeover ==
  /\ cep < MaxCep /\ cep' = cep + 1
  /\ UNCHANGED <<nx, last, req, p, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* A batch that waits for an answer of the old reign asks again: here it begins anew.
Learn(t) ==
  /\ p[t].cep < cep
  /\ p' = [p EXCEPT ![t].cep = cep, ![t].lane = IF @ = "local" THEN "idle" ELSE @]
  /\ UNCHANGED <<cep, nx, last, req, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

-----------------------------------------------------------------------------
(* A read over both tablets                                                  *)

RdSample ==
  /\ nr < NR /\ rd.st = "no" /\ nr' = nr + 1
  /\ rd' = [NoRd EXCEPT !.st = "smp", !.R = nx[cep] - 1, !.last = last[cep], !.fl = ackmax]
  /\ err' = IF nx[cep] - 1 < ackmax THEN "read: R below an acknowledged revision" ELSE err
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, co, nw, nf, rmax, ackmax>>

RdTab(t) ==
  /\ rd.st = "smp" /\ t \notin rd.got /\ p[t].cl >= rd.last[t]
  /\ LET d == {r \in log[t] : r <= rd.R} IN
     IF rd.got = {}
     THEN rd' = [rd EXCEPT !.got = {t}, !.seen = d] /\ UNCHANGED <<rmax, ackmax, err>>
     ELSE /\ rd' = NoRd /\ rmax' = Max(rmax, rd.R) /\ ackmax' = Max(ackmax, rd.R)
          /\ err' = IF rd.seen \cup d # {r \in log[1] \cup log[2] : r <= rd.R}
                    THEN "read: wrong snapshot"
                    ELSE IF co.r # 0 /\ (co.r \in d) # (co.r \in rd.seen)
                    THEN "transaction half visible" ELSE err
  /\ UNCHANGED <<cep, nx, last, req, p, log, cell, co, nw, nr, nf>>

-----------------------------------------------------------------------------
\* Whatever nothing more can happen to is whole, closed and answered.
Good ==
  /\ \A t \in Tb : p[t].lane = "idle" /\ p[t].cl >= last[cep][t]
  /\ rd.st = "no" /\ (co.r # 0 => ((co.r \in log[1]) <=> (co.r \in log[2])))
Stop == Good /\ UNCHANGED vars

Next ==
  \/ \E t \in Tb : \/ Register(t) \/ LocalAlloc(t) \/ LocalCommit(t) \/ Lock(t) \/ Unlock(t)
                   \/ PrepLand(t) \/ PrepLost(t) \/ Failover(t) \/ Learn(t) \/ RdTab(t)
  \/ PrepSend \/ CoSend \/ CoAlloc \/ CoGiveUp \/ Decide \/ DecideLost
  \/ Drop \/ Abort \/ Apply \/ Resolve \/ Forget
  \/ Takeover \/ RdSample \/ Stop
Spec == Init /\ [][Next]_vars
NoErr == err = ""
=============================================================================
