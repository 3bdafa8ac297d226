-- What the flow keeps in the warehouse beside dbt's schemas. One row of each table is described in docs/design.md.
create schema if not exists raw;
create schema if not exists sync;
create schema if not exists quality;
create schema if not exists ops;

create table if not exists ops.runs (
    run_id varchar primary key,
    target varchar not null,
    as_of date,
    started_at timestamp not null,
    ended_at timestamp,
    state varchar not null,           -- running | done | failed | held
    stage varchar,                    -- the stage it ended in
    error varchar,
    summary json                      -- what `nightshift run --output json` ends with
);

create table if not exists ops.extracts (
    run_id varchar not null,
    source varchar not null,
    rows_loaded bigint not null,
    bytes bigint not null,
    files_or_pages bigint not null,
    cursor_before varchar,
    cursor_after varchar,
    seconds double not null,
    extracted_at timestamp not null
);

create table if not exists ops.files (
    source varchar not null,
    file varchar not null,
    bytes bigint not null,
    checksum varchar not null,        -- BLAKE2b of the file as it lies on disk
    stamp varchar not null,           -- the file system's times of it; empty: too young to be trusted
    rows_loaded bigint not null,
    run_id varchar not null,
    loaded_at timestamp not null,
    primary key (source, file)
);

create table if not exists ops.source_sizes (
    source varchar primary key,
    rows bigint not null,             -- of its raw table, when it was last not shrunken
    run_id varchar not null
);

create table if not exists quality.results (
    run_id varchar not null,
    stage varchar not null,           -- raw | crm | crm_after
    table_name varchar not null,
    expectation varchar not null,
    column_name varchar,
    severity varchar not null,        -- critical | warning | info
    passed boolean not null,
    row_level boolean not null,
    observed varchar,
    evaluated_rows bigint,
    unexpected_rows bigint,
    detail varchar,
    checked_at timestamp not null,
    expectation_id varchar,           -- the same from run to run: over table, name, arguments and rows judged
    expected varchar,                 -- the arguments, as text
    owner varchar,
    on_fail varchar,                  -- stop | quarantine | report
    quarantined_rows bigint,
    samples varchar[]                 -- a few values that failed; none of personal data
);

create table if not exists quality.quarantine (
    table_name varchar not null,      -- the model, as <schema>.<table>
    key varchar not null,             -- the row's external id
    expectation_id varchar not null,  -- of quality.results
    expectation varchar not null,
    column_name varchar,
    value varchar,                    -- what failed; masked where it is personal
    fingerprint varchar not null,     -- of what failed: a release holds while this stays the same
    severity varchar not null,
    detail varchar,
    since_run_id varchar not null,
    since_at timestamp not null,
    last_run_id varchar not null,     -- the last run that found it failing
    ended_at timestamp,               -- null: the row is held back; at most one such row for table, key, expectation
    ended_as varchar,                 -- passed | gone (left the model) | withdrawn (nothing asks any more) | released
    released_by varchar,
    reason varchar
);

create table if not exists quality.metrics (
    run_id varchar not null,
    day date not null,                -- the run's: its as-of day, else the day it began
    stage varchar not null,           -- raw | crm
    table_name varchar not null,
    column_name varchar,              -- null: of the table
    metric varchar not null,          -- rows | nulls (share) | sum | age (days)
    value double not null,
    measured_at timestamp not null
);

create table if not exists sync.changes (
    run_id varchar not null,
    sync varchar not null,
    external_id varchar not null,
    operation varchar not null,
    field varchar,
    before varchar,
    after varchar,
    outcome varchar not null,
    created boolean,                  -- whether the CRM made a new record; null where it did not say
    changed_at timestamp not null
);

create table if not exists sync.rejections (
    sync varchar not null,
    external_id varchar not null,
    operation varchar not null,
    code varchar not null,
    message varchar not null,
    fields varchar[],
    sent map(varchar, varchar),       -- CRM field -> what was sent; personal values are masked
    other_id varchar,                 -- the CRM's id of the record that a duplicate would repeat
    gone boolean,                     -- whether it was refused because somebody deleted it in the CRM
    attempts integer not null,
    first_seen_at timestamp not null,
    last_seen_at timestamp not null,
    last_run_id varchar not null,
    closed_at timestamp,
    primary key (sync, external_id)
);

create table if not exists sync.doubts (
    sync varchar not null,
    external_id varchar not null,
    operation varchar not null,       -- what was tried without an answer; archive: the record may be gone
    fields varchar[] not null,        -- what may have been written
    run_id varchar not null,
    primary key (sync, external_id)
);

create table if not exists sync.forgotten (
    sync varchar not null,
    external_id varchar not null,
    run_id varchar not null,          -- the run that found it deleted in the CRM
    forgotten_at timestamp not null,
    primary key (sync, external_id)
);

create table if not exists sync.mismatches (
    run_id varchar not null,
    sync varchar not null,
    external_id varchar not null,
    field varchar,                    -- null: the whole record is missing
    sent varchar,
    found varchar,
    seen_at timestamp not null
);

create table if not exists sync.schemas (
    crm varchar not null,             -- the connection's name
    object varchar not null,
    run_id varchar not null,          -- the run that was first told so
    described_at timestamp not null,
    last_run_id varchar not null,     -- the run that was last told so
    last_described_at timestamp not null,
    description json not null,        -- what the login may do with it, and its fields
    primary key (crm, object, run_id)
);

create table if not exists sync.plans (
    run_id varchar primary key,
    hash varchar not null,            -- over every file of the plan
    planned_at timestamp not null,
    held varchar[],                   -- the guards it goes over
    begun varchar[],                  -- the syncs whose first run goes on: records to create were left for another night
    target varchar,
    kind varchar,                     -- night | retry | revert: how it is made again
    reverts varchar,                  -- for a revert: the run that it takes back
    state varchar default 'planned',  -- planned | held | approved | rejected | void | pushed
    decided_at timestamp,             -- when a person approved or rejected it
    decided_by varchar,
    reason varchar,                   -- why it was approved or rejected
    void_because varchar,             -- what moved, so that it can no longer be pushed
    flow_run_id varchar,              -- Prefect's flow run that waits for the decision
    merged_at timestamp               -- when the ledger was moved forward from its receipts
);

-- What a warehouse that an earlier version made lacks.
alter table quality.results add column if not exists expectation_id varchar;
alter table quality.results add column if not exists expected varchar;
alter table quality.results add column if not exists owner varchar;
alter table quality.results add column if not exists on_fail varchar;
alter table quality.results add column if not exists quarantined_rows bigint;
alter table quality.results add column if not exists samples varchar[];
alter table sync.changes add column if not exists created boolean;
alter table sync.rejections add column if not exists sent map(varchar, varchar);
alter table sync.rejections add column if not exists other_id varchar;
alter table sync.rejections add column if not exists gone boolean;
alter table sync.plans add column if not exists begun varchar[];
alter table sync.plans add column if not exists target varchar;
alter table sync.plans add column if not exists kind varchar default 'night';
alter table sync.plans add column if not exists reverts varchar;
alter table sync.plans add column if not exists state varchar default 'pushed'; -- it was, as soon as it was made
alter table sync.plans add column if not exists decided_at timestamp;
alter table sync.plans add column if not exists decided_by varchar;
alter table sync.plans add column if not exists reason varchar;
alter table sync.plans add column if not exists void_because varchar;
alter table sync.plans add column if not exists flow_run_id varchar;
