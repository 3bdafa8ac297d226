with source as (
    select * from {{ source('retail', 'invoice_lines') }}
),

renamed as (
    select
        concat(_file, ':', _row) as invoice_line_id,
        upper(trim(InvoiceNo)) as invoice_id,
        starts_with(upper(trim(InvoiceNo)), 'C') as is_cancellation,
        nullif(regexp_replace(trim(CustomerID), '\.0$', ''), '') as customer_id,
        upper(trim(StockCode)) as stock_code,
        Quantity as quantity,
        UnitPrice as unit_price,
        Quantity * UnitPrice as amount,
        nullif(trim(Country), '') as country_spelling,
        InvoiceDate as invoiced_at
    from source
)

select * from renamed
