{{
    config(
        unique_key='opportunity_id',
        post_hook="{{ delete_departed('opportunity_id', ref('int_invoices_netted'), 'invoice_id') }}"
    )
}}

with opportunities as (
    select
        invoice_id as opportunity_id,
        'Invoice ' || invoice_id as name,
        'Closed Won' as stage_name,
        'closedwon' as deal_stage,
        cast(invoiced_at as date) as close_date,
        net_amount as amount,
        returned_amount,
        line_count,
        customer_id as account_id
    from {{ ref('int_invoices_netted') }}
),

final as (
    {{ only_changes('opportunities') }}
)

select * from final
