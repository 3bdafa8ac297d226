with lines as (
    select * from {{ ref('stg_retail__invoice_lines') }}
),

newest as (
    select cast(max(invoiced_at) as date) as invoiced_on from lines
),

customers as (
    select
        customer_id,
        cast(min(invoiced_at) filter (where not is_cancellation) as date) as first_order_date,
        cast(max(invoiced_at) filter (where not is_cancellation) as date) as last_order_date,
        count(distinct invoice_id) filter (where not is_cancellation) as order_count,
        count(distinct invoice_id) filter (where is_cancellation) as return_count,
        cast(sum(amount) as decimal(14, 2)) as lifetime_value,
        -- The line's own id settles which of two lines of the same minute is the later one.
        arg_max(country_spelling, (invoiced_at, invoice_id, invoice_line_id)) as country_spelling
    from lines
    where customer_id is not null
    group by customer_id
),

measured as (
    select
        customers.*,
        newest.invoiced_on - customers.last_order_date as recency_days
    from customers
    cross join newest
),

segmented as (
    select
        *,
        case
            when recency_days <= 30 and order_count >= 5 and lifetime_value >= 1000 then 'Champions'
            when recency_days <= 30 and order_count = 1 then 'New'
            when recency_days <= 90 and order_count >= 3 then 'Loyal'
            when recency_days <= 90 then 'Promising'
            when recency_days <= 180 and (order_count >= 3 or lifetime_value >= 1000) then 'At Risk'
            when recency_days <= 180 then 'Hibernating'
            else 'Lost'
        end as segment
    from measured
)

select
    segmented.customer_id,
    shop.company,
    case when spellings.spelling is null then segmented.country_spelling else spellings.country end as country,
    segmented.first_order_date,
    segmented.last_order_date,
    segmented.recency_days,
    segmented.order_count,
    segmented.return_count,
    segmented.lifetime_value,
    segmented.segment
from segmented
left join {{ ref('stg_shop__customers') }} as shop on segmented.customer_id = shop.customer_id
left join {{ ref('country_spellings') }} as spellings on segmented.country_spelling = spellings.spelling
