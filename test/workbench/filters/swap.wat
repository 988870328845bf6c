;; A filter by hand: sends each packet on as it came, but for the Ethernet addresses, which are the subscriber's and
;; ours. Its header is those 12 bytes alone, and stands for as many of the packet. No parameter, no state.
(module
  (import "env" "memory" (memory 0))
  (func (export "fantail_abi") (result i32) (i32.const 1))

  (func (export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32)
    (local $job i32) (local $end i32)
    (local.set $job (i32.add (local.get $jobs) (i32.mul (local.get $first) (i32.const 40))))
    (local.set $end (i32.add (local.get $job) (i32.mul (local.get $count) (i32.const 40))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $job) (local.get $end)))
        (call $answer (local.get $job))
        (local.set $job (i32.add (local.get $job) (i32.const 40)))
        (br $next))))

  (func $answer (param $job i32)
    (local $slot i32) (local $subscriber i32)
    (local.set $slot (i32.load offset=8 (local.get $job)))
    (local.set $subscriber (i32.load offset=12 (local.get $job)))
    (if (i32.lt_u (i32.load offset=4 (local.get $job)) (i32.const 12))
      (then
        (i32.store offset=16 (local.get $job) (i32.const 0)) ;; drop
        (return)))
    ;; both MACs stand side by side in the record, from byte 8 on
    (i64.store (local.get $slot) (i64.load offset=8 align=1 (local.get $subscriber)))
    (i32.store offset=8 (local.get $slot) (i32.load offset=16 align=1 (local.get $subscriber)))
    (i32.store offset=16 (local.get $job) (i32.const 1)) ;; send
    (i32.store16 offset=20 (local.get $job) (i32.const 0)) ;; from the slot's first byte
    (i32.store16 offset=22 (local.get $job) (i32.const 12)) ;; 12 bytes
    (i32.store offset=24 (local.get $job) (i32.const 12)))) ;; for the packet's first 12
