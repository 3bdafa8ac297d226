{{
    config(
        unique_key='contact_id',
        post_hook="{{ delete_departed('contact_id', ref('int_people_consented'), 'customer_id') }}"
    )
}}

with contacts as (
    select
        customer_id as contact_id,
        left(first_name, 40) as first_name,
        left(last_name, 80) as last_name,
        email,
        phone,
        consent_at,
        customer_id as account_id
    from {{ ref('int_people_consented') }}
),

final as (
    {{ only_changes('contacts') }}
)

select * from final
