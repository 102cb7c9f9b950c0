-- Waybill outbox for PostgreSQL 13 and later, format 1.
--
-- Everything lives in the schema "waybill". Running this again replaces the functions and
-- changes nothing else. What removes it: waybill outbox uninstall.
--
-- An application writes to the outbox by calling waybill.emit in its own transaction:
--
--   select waybill.emit('customer.created', jsonb_build_array(jsonb_build_object(
--     'entity', 'customer', 'op', 'upsert',
--     'key', jsonb_build_object('id', 42), 'row', jsonb_build_object('name', 'Ann'))));
--
-- All calls of one transaction are one action. A role that may emit needs two grants, and no
-- right on any table:
--
--   grant usage on schema waybill to app;
--   grant execute on function waybill.emit(text, jsonb, text) to app;
begin;

set local client_min_messages = warning;
set local lock_timeout = '10s';

do $$
declare
  found_format text;
begin
  if current_setting('server_version_num')::int < 130000 then
    raise exception 'the Waybill outbox needs PostgreSQL 13 or later, this is %', current_setting('server_version');
  end if;
  perform pg_advisory_xact_lock(8673042169010); -- two installations at once: one waits
  if to_regnamespace('waybill') is null then
    create schema waybill;
  end if;
  create table if not exists waybill.meta (key text primary key, value text not null);
  insert into waybill.meta (key, value) values ('outbox.format', '1') on conflict (key) do nothing;
  select value into found_format from waybill.meta where key = 'outbox.format';
  if found_format <> '1' then
    raise exception 'a Waybill outbox of format % is installed here, this is format 1', found_format
      using hint = 'Use the version of waybill that installed it, or a later one.';
  end if;
end $$;

-- Draws: n orders the calls of one transaction, ord whole transactions. Neither is cached by
-- sessions, so that a later draw is a higher number.
create sequence if not exists waybill.outbox_n cache 1;
create sequence if not exists waybill.outbox_ord cache 1;

-- One row for every call of emit. There are two halves: while one takes what is written, the
-- other is emptied by TRUNCATE once every consumer has all of it. Nothing is ever deleted
-- or updated, so there is nothing to vacuum.
create table if not exists waybill.outbox (
  xid     xid8        not null default pg_current_xact_id(), -- the top-level transaction
  n       bigint      not null default nextval('waybill.outbox_n'),
  at      timestamptz not null default clock_timestamp(),
  id      uuid        not null default gen_random_uuid(),    -- of the action
  part    smallint    not null default 0,
  draws   boolean     not null default true,                 -- whether its transaction draws an ord for it
  name    text,
  trace   text,
  changes jsonb       not null
) partition by list (part);

create table if not exists waybill.outbox_0 partition of waybill.outbox (primary key (xid, n))
  for values in (0) with (autovacuum_enabled = false, toast.autovacuum_enabled = false);
create table if not exists waybill.outbox_1 partition of waybill.outbox (primary key (xid, n))
  for values in (1) with (autovacuum_enabled = false, toast.autovacuum_enabled = false);

-- The order of transactions, drawn while they commit: a transaction that had to wait for
-- another one's lock draws after it.
create table if not exists waybill.outbox_order (
  xid  xid8     not null,
  ord  bigint   not null,
  part smallint not null
) partition by list (part);

create table if not exists waybill.outbox_order_0 partition of waybill.outbox_order (primary key (xid))
  for values in (0) with (autovacuum_enabled = false);
create table if not exists waybill.outbox_order_1 partition of waybill.outbox_order (primary key (xid))
  for values in (1) with (autovacuum_enabled = false);

-- Which half takes new rows, and since when.
create table if not exists waybill.outbox_control (
  one   boolean     primary key default true check (one),
  half  smallint    not null default 0 check (half in (0, 1)),
  since timestamptz not null default clock_timestamp()
);
insert into waybill.outbox_control (one) values (true) on conflict do nothing;

-- Who reads the outbox, and how far each of them has confirmed. Only what is visible in every
-- floor may go; without consumers nothing goes.
create table if not exists waybill.consumer (
  name       text        primary key,
  registered uuid        not null default gen_random_uuid(),
  position   text        not null default '',
  seq        bigint      not null default 0,
  last_id    text        not null default '',
  floor      pg_snapshot not null default '1:1:',
  updated_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- Runs at commit, being deferred, once for each transaction. The mark tells a later emit of
-- the same transaction that the draw was made already (SET CONSTRAINTS … IMMEDIATE), so that
-- it has to be made again: the last draw counts.
create or replace function waybill.outbox_draw() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.part = 0 then
    insert into waybill.outbox_order_0 as o (xid, ord, part) values (new.xid, nextval('waybill.outbox_ord'), 0)
      on conflict (xid) do update set ord = excluded.ord;
  else
    insert into waybill.outbox_order_1 as o (xid, ord, part) values (new.xid, nextval('waybill.outbox_ord'), 1)
      on conflict (xid) do update set ord = excluded.ord;
  end if;
  perform set_config('waybill.drawn', new.xid::text, true);
  return null;
end $$;

-- "Always": also where session_replication_role switches other triggers off.
do $$
declare
  half regclass;
begin
  foreach half in array array['waybill.outbox_0', 'waybill.outbox_1']::regclass[] loop
    if not exists (select from pg_trigger where tgrelid = half and tgname = 'outbox_draw') then
      execute format('create constraint trigger outbox_draw after insert on %s deferrable initially deferred '
        'for each row when (new.draws) execute function waybill.outbox_draw()', half);
      execute format('alter table %s enable always trigger outbox_draw', half);
    end if;
  end loop;
end $$;

-- Says what is wrong with a list of changes, in one clause, and null if nothing is.
create or replace function waybill.outbox_fault(changes jsonb) returns text
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  c jsonb;
  i bigint;
  op text;
  field text;
  k record;
begin
  if changes is null then
    return 'changes are null';
  elsif jsonb_typeof(changes) <> 'array' then
    return format('changes are a JSON %s, not an array of changes', jsonb_typeof(changes));
  end if;
  for c, i in select e.value, e.ordinality from jsonb_array_elements(changes) with ordinality e loop
    if jsonb_typeof(c) <> 'object' then
      return format('change %s: it is not a JSON object', i);
    end if;
    select f into field from jsonb_object_keys(c) f where f not in ('entity', 'op', 'key', 'row', 'before') limit 1;
    if found then
      return format('change %s: field "%s" is none of entity, op, key, row, before', i, left(field, 100));
    elsif not c ? 'entity' then
      return format('change %s: field entity is missing', i);
    elsif jsonb_typeof(c -> 'entity') <> 'string' or c ->> 'entity' = '' then
      return format('change %s: entity is not a string, or empty', i);
    elsif not c ? 'op' then
      return format('change %s: field op is missing', i);
    end if;
    op := c ->> 'op';
    field := format('change %s (%s)', i, left(c ->> 'entity', 100));
    if jsonb_typeof(c -> 'op') <> 'string' or op not in ('insert', 'update', 'upsert', 'delete') then
      return format('%s: op "%s" is not one of insert, update, upsert, delete', field, left(op, 100));
    elsif jsonb_typeof(c -> 'key') is distinct from 'object' or c -> 'key' = '{}' then
      return format('%s: key is not a JSON object with at least one column', field);
    elsif op = 'delete' and coalesce(c -> 'row', 'null') not in ('null', '{}') then
      return format('%s: a delete has no row (what was deleted goes into before)', field);
    elsif op <> 'delete' and jsonb_typeof(c -> 'row') is distinct from 'object' then
      return format('%s: row is not a JSON object, %s needs it', field, op);
    elsif jsonb_typeof(c -> 'before') not in ('object', 'null') then
      return format('%s: before is neither a JSON object nor null', field);
    elsif c -> 'key' ? '' or c -> 'row' ? '' or c -> 'before' ? '' then
      return format('%s: a column has an empty name', field);
    end if;
    for k in select e.key, e.value from jsonb_each(c -> 'key') e loop
      if jsonb_typeof(k.value) not in ('string', 'number', 'boolean') then
        return format('%s: key column "%s" is %s, not a string, number or boolean', field, left(k.key, 100), jsonb_typeof(k.value));
      elsif op in ('insert', 'upsert') and c -> 'row' ? k.key and (c -> 'row' -> k.key)::text <> k.value::text then
        return format('%s: column "%s" has one value in key and another in row, which %s does not allow (an update changes a key)',
          field, left(k.key, 100), op);
      end if;
    end loop;
  end loop;
  if jsonb_path_exists(changes, 'strict $.**{67 to last} ? (@.type() == "object" || @.type() == "array")') then
    return 'the value of a column nests more than 64 deep';
  end if;
  return null;
end $$;

-- The action of the calling transaction, if its first row is where the mark says. The mark is
-- a setting, which anybody can write. The row is fetched by its place, without an index:
-- reading an index would make transactions of SERIALIZABLE depend on each other. Only emit calls
-- it, whose rights and search_path it runs with.
create or replace function waybill.outbox_known(half text, place text) returns uuid
language plpgsql volatile
set enable_seqscan = off as $$
declare
  action uuid;
begin
  if half = '0' then
    select o.id into action from waybill.outbox_0 o where o.ctid = nullif(place, '')::tid and o.xid::text = pg_current_xact_id()::text;
  elsif half = '1' then
    select o.id into action from waybill.outbox_1 o where o.ctid = nullif(place, '')::tid and o.xid::text = pg_current_xact_id()::text;
  end if;
  return action;
end $$;

-- emit adds changes to the current transaction's action and returns the action's ID. The name
-- and the trace (W3C traceparent) given last count; null leaves them. It runs with its owner's
-- rights, so that applications need none on the tables.
create or replace function waybill.emit(name text, changes jsonb, trace text default null) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  me     text := pg_current_xact_id()::text;
  -- "xid half place" of its first row, since the first call of this transaction; it is rolled back with savepoints
  -- exactly as rows are.
  mark   text := current_setting('waybill.action', true);
  known  boolean := coalesce(split_part(mark, ' ', 1) = me, false);
  draws  boolean := true;
  place  tid;
  target smallint;
  action uuid;
  wrong  text;
begin
  if known then
    action := waybill.outbox_known(split_part(mark, ' ', 2), split_part(mark, ' ', 3));
    known := action is not null;
  end if;
  if known then
    target := split_part(mark, ' ', 2)::smallint;
    draws := coalesce(current_setting('waybill.drawn', true) = me, false);
  else
    select c.half into strict target from waybill.outbox_control c;
    action := gen_random_uuid();
  end if;

  -- The quick test; outbox_fault finds the words. What the one lets through the other does.
  if changes is null or jsonb_typeof(changes) <> 'array' or pg_column_size(changes) > 500 and jsonb_path_exists(changes,
      'strict $.**{67 to last} ? (@.type() == "object" || @.type() == "array")')
    or exists (select from jsonb_array_elements(changes) c where case when jsonb_typeof(c) <> 'object' then true else
      c - '{entity,op,key,row,before}'::text[] <> '{}'
      or coalesce(jsonb_typeof(c -> 'entity') <> 'string' or c -> 'entity' = '""', true)
      or coalesce(c -> 'op' not in ('"insert"', '"update"', '"upsert"', '"delete"'), true)
      or coalesce(jsonb_typeof(c -> 'key') <> 'object' or c -> 'key' = '{}', true)
      or case when c ->> 'op' = 'delete' then coalesce(c -> 'row', 'null') not in ('null', '{}')
         else coalesce(jsonb_typeof(c -> 'row') <> 'object', true) end
      or coalesce(jsonb_typeof(c -> 'before') not in ('object', 'null'), false)
      or c -> 'key' ? '' or coalesce(c -> 'row' ? '', false) or coalesce(c -> 'before' ? '', false)
      or case when jsonb_typeof(c -> 'key') = 'object' then exists (select from jsonb_each(c -> 'key') k
           where jsonb_typeof(k.value) not in ('string', 'number', 'boolean')
              or c ->> 'op' in ('insert', 'upsert') and (c -> 'row' -> k.key)::text <> k.value::text)
         else true end
    end)
  then
    wrong := waybill.outbox_fault(changes);
    raise exception 'waybill.emit: %', coalesce(wrong, 'the changes are malformed')
      using errcode = 'invalid_parameter_value',
        hint = 'A change is {entity, op: insert|update|upsert|delete, key, row, before?}; waybill outbox sql prints the schema with an example.';
  end if;

  if target = 0 then
    insert into waybill.outbox_0 (id, part, draws, name, trace, changes)
      values (action, 0, draws, emit.name, emit.trace, emit.changes) returning ctid into place;
  else
    insert into waybill.outbox_1 (id, part, draws, name, trace, changes)
      values (action, 1, draws, emit.name, emit.trace, emit.changes) returning ctid into place;
  end if;
  if not known then
    perform set_config('waybill.action', concat_ws(' ', me, target, place), true);
  end if;
  return action;
end $$;

-- Whether a half holds a transaction that some consumer has not confirmed.
create or replace function waybill.outbox_needed(half smallint) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
  select exists (select from waybill.consumer c where exists (
      select from waybill.outbox_order o where o.part = half and o.xid >= pg_snapshot_xmax(c.floor))
    or exists (
      select from pg_snapshot_xip(c.floor) x join waybill.outbox_order o on o.xid = x where o.part = half))
$$;

-- outbox_purge is called by readers now and then. It empties the half that takes no new rows,
-- if every consumer has confirmed all of it, or else, if that half is empty, makes it the one
-- that takes new rows once the other has grown to flip_bytes or is older than flip_age. It waits
-- for nobody longer than lock_timeout, and looks for other users of the half before it tries.
create or replace function waybill.outbox_purge(flip_bytes bigint default 8388608, flip_age interval default '1 minute')
returns text language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
set lock_timeout = '20ms' as $$
declare
  control waybill.outbox_control;
  idle    smallint;
  rels    regclass[];
begin
  if not pg_try_advisory_xact_lock(8673042169011) then
    return 'busy'; -- another reader is at it
  end if;
  if not exists (select from waybill.consumer) then
    return 'no consumers';
  end if;
  select * into strict control from waybill.outbox_control;
  idle := 1 - control.half;
  rels := case idle when 0 then array['waybill.outbox_0', 'waybill.outbox_order_0']::regclass[]
                    else array['waybill.outbox_1', 'waybill.outbox_order_1']::regclass[] end;

  if pg_relation_size(rels[1]) > 0 or pg_relation_size(rels[2]) > 0 then
    if waybill.outbox_needed(idle) then
      return 'waiting';
    end if;
    if exists (select from pg_locks l where l.locktype = 'relation' and l.relation = any (rels)
        and l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.pid is distinct from pg_backend_pid()) then
      return 'busy';
    end if;
    begin
      execute format('lock table %s, %s in access exclusive mode', rels[1], rels[2]);
    exception when lock_not_available or deadlock_detected then
      return 'busy';
    end;
    -- A transaction of REPEATABLE READ may have written here long after the switch: look
    -- again, now that nobody can.
    if waybill.outbox_needed(idle) then
      return 'waiting';
    end if;
    execute format('truncate table %s, %s', rels[1], rels[2]);
    return 'purged';
  end if;

  rels := case control.half when 0 then array['waybill.outbox_0'] else array['waybill.outbox_1'] end;
  if pg_relation_size(rels[1]) > 0
    and (pg_relation_size(rels[1]) >= flip_bytes or control.since < clock_timestamp() - flip_age) then
    update waybill.outbox_control set half = idle, since = clock_timestamp();
    return 'flipped';
  end if;
  return 'nothing';
end $$;

-- Functions can be executed by everybody unless that is revoked.
do $$
declare
  f text;
begin
  foreach f in array array['emit(text, jsonb, text)', 'outbox_draw()', 'outbox_fault(jsonb)', 'outbox_known(text, text)',
      'outbox_needed(smallint)', 'outbox_purge(bigint, interval)'] loop
    execute format('revoke execute on function waybill.%s from public', f);
  end loop;
end $$;

commit;
