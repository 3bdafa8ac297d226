select
    sync,
    external_id,
    operation,
    code,
    message,
    fields,
    sent,
    other_id,
    coalesce(gone, false) as is_gone,
    attempts,
    first_seen_at,
    last_seen_at,
    last_run_id,
    date_diff('day', first_seen_at, now() at time zone 'UTC') as days_open
from {{ source('sync', 'rejections') }}
where closed_at is null
