(module
 (type $0 (func (result i32)))
 (type $1 (func (param i32 i32 i32)))
 (import "env" "memory" (memory $0 0))
 (export "fantail_burst" (func $assembly/filters/rewrite/fantail_burst))
 (export "fantail_abi" (func $assembly/sdk/fantail_abi))
 (func $assembly/sdk/fantail_abi (result i32)
  i32.const 1
 )
 (func $assembly/filters/rewrite/fantail_burst (param $0 i32) (param $1 i32) (param $2 i32)
  (local $3 i32)
  (local $4 i32)
  (local $5 i32)
  (local $6 i32)
  (local $7 i32)
  (local $8 i32)
  (local $9 i32)
  (local $10 i32)
  local.get $0
  local.get $1
  local.get $2
  i32.add
  i32.const 40
  i32.mul
  i32.add
  local.set $4
  local.get $0
  local.get $1
  i32.const 40
  i32.mul
  i32.add
  local.set $0
  loop $for-loop|0
   local.get $0
   local.get $4
   i32.lt_u
   if
    local.get $0
    i32.load offset=4
    local.tee $5
    i32.const 42
    i32.sub
    i32.const 65507
    i32.le_u
    if
     local.get $0
     i32.load offset=28
     local.set $7
     local.get $0
     i32.load offset=12
     local.tee $8
     i32.load offset=20
     local.set $9
     local.get $0
     i32.load
     i32.load16_u offset=36
     local.get $8
     i32.load16_u offset=4
     i32.const 16
     i32.shl
     i32.or
     local.set $1
     local.get $8
     i32.load8_u offset=44
     local.set $10
     local.get $9
     i32.const 65535
     i32.and
     local.get $9
     i32.const 16
     i32.shr_u
     i32.add
     local.get $8
     i32.load
     local.tee $2
     i32.const 65535
     i32.and
     local.get $2
     i32.const 16
     i32.shr_u
     i32.add
     i32.add
     local.set $3
     local.get $0
     i32.load offset=8
     i32.const -64
     i32.sub
     local.tee $6
     local.get $8
     i64.load offset=8
     i64.store
     local.get $6
     local.get $8
     i32.load offset=16
     i32.store offset=8
     local.get $6
     i32.const 4521992
     i32.store offset=12
     local.get $6
     local.get $5
     i32.const 14
     i32.sub
     local.tee $8
     i32.const 255
     i32.and
     i32.const 8
     i32.shl
     local.get $8
     i32.const 8
     i32.shr_u
     i32.or
     local.tee $8
     i64.extend_i32_u
     local.get $10
     i32.const 16
     i32.shl
     i32.const 285212736
     i32.or
     i64.extend_i32_u
     i64.const 32
     i64.shl
     i64.or
     i64.store offset=16
     local.get $6
     local.get $10
     i32.const 4485
     i32.add
     local.get $8
     i32.add
     local.get $3
     i32.add
     local.tee $8
     i32.const 65535
     i32.and
     local.get $8
     i32.const 16
     i32.shr_u
     i32.add
     local.tee $8
     i32.const 65535
     i32.and
     local.get $8
     i32.const 16
     i32.shr_u
     i32.add
     i32.const -1
     i32.xor
     i32.store16 offset=24
     local.get $6
     local.get $9
     i32.store offset=26
     local.get $6
     local.get $2
     i32.store offset=30
     local.get $6
     local.get $1
     i32.store offset=34
     local.get $6
     local.get $5
     i32.const 34
     i32.sub
     local.tee $2
     i32.const 255
     i32.and
     i32.const 8
     i32.shl
     local.get $2
     i32.const 8
     i32.shr_u
     i32.or
     local.tee $2
     local.get $7
     i32.const -1
     i32.ne
     if (result i32)
      local.get $1
      i32.const 65535
      i32.and
      local.get $1
      i32.const 16
      i32.shr_u
      i32.add
      local.get $3
      i32.const 4352
      i32.add
      i32.add
      local.get $2
      i32.const 1
      i32.shl
      i32.add
      local.get $7
      i32.const 65535
      i32.and
      local.get $7
      i32.const 16
      i32.shr_u
      i32.add
      local.tee $1
      i32.const 65535
      i32.and
      local.get $1
      i32.const 16
      i32.shr_u
      i32.add
      local.tee $1
      i32.const 255
      i32.and
      i32.const 8
      i32.shl
      local.get $1
      i32.const 8
      i32.shr_u
      i32.or
      i32.add
      local.tee $1
      i32.const 65535
      i32.and
      local.get $1
      i32.const 16
      i32.shr_u
      i32.add
      local.tee $1
      i32.const 65535
      i32.and
      local.get $1
      i32.const 16
      i32.shr_u
      i32.add
      i32.const -1
      i32.xor
      i32.const 65535
      i32.and
      local.tee $1
      i32.const 65535
      local.get $1
      select
     else
      i32.const 0
     end
     i32.const 16
     i32.shl
     i32.or
     i32.store offset=38
     local.get $0
     i64.const 11822223899754497
     i64.store offset=16
     local.get $0
     i32.const 42
     i32.store offset=24
    else
     local.get $0
     i32.const 0
     i32.store offset=16
    end
    local.get $0
    i32.const 40
    i32.add
    local.set $0
    br $for-loop|0
   end
  end
 )
)
