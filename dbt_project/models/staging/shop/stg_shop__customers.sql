with source as (
    select * from {{ source('shop', 'customers') }}
),

renamed as (
    select
        trim(customer_id) as customer_id,
        nullif(trim(company), '') as company,
        nullif(trim(person), '') as person,
        nullif(lower(trim(email)), '') as email,
        nullif(trim(phone), '') as phone,
        coalesce(consent, false) as has_consent,
        updated_at
    from source
)

select * from renamed
