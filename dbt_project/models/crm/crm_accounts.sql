{{
    config(
        unique_key='account_id',
        post_hook="{{ delete_departed('account_id', ref('int_customers_rfm'), 'customer_id') }}"
    )
}}

with accounts as (
    select
        customer_id as account_id,
        left(coalesce(company, 'Customer ' || customer_id), 255) as name,
        country,
        first_order_date,
        last_order_date,
        order_count,
        return_count,
        lifetime_value,
        segment
    from {{ ref('int_customers_rfm') }}
),

final as (
    {{ only_changes('accounts') }}
)

select * from final
