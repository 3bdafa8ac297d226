"""What to do about a refused record, by the CRM's code; a code that is not here is explained by the CRM's own words.

Sources: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
(StatusCode) and https://developers.hubspot.com/docs/api-reference/error-handling.
"""

from __future__ import annotations

from collections.abc import Mapping

_TOO_LONG = "Shorten the value in the model, or let the CRM's field be longer."
_NO_OPTION = "Add the value to the field's list in the CRM, or make it one that is there in the model."
_NO_EMAIL = "Mend the address at its source, or let the model send none where it is no address."
_UNIQUE = "Another record there holds the same unique value: merge the two in the CRM, or mend the value."
_NO_PARENT = "A record that it refers to is not in the CRM, or the login may not see it: look which lookup is named."
_NOT_WRITABLE = "Let the login edit the field, or take it out of the model's mapping."
_NO_RIGHT = "Give the login the right to edit this record, or the one that it refers to."
_DATE = "Mend the date at its source; the CRM takes none so far away, or none in this form."

ADVICE: Mapping[str, str] = {
    # Salesforce
    "REQUIRED_FIELD_MISSING": "Fill the named fields in the model, or leave such rows out of it.",
    "STRING_TOO_LONG": _TOO_LONG,
    "INVALID_EMAIL_ADDRESS": _NO_EMAIL,
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": _NO_OPTION,
    "NUMBER_OUTSIDE_VALID_RANGE": "Look for the outlier at its source, or give the CRM's field more digits.",
    "INVALID_DATE": _DATE,
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the CRM says no, in its owner's words: mend the values, "
    "or ask the rule's owner.",
    "FIELD_FILTER_VALIDATION_EXCEPTION": "The lookup's filter in the CRM does not allow this parent: ask its owner.",
    "DUPLICATE_VALUE": _UNIQUE,
    "DUPLICATE_EXTERNAL_ID": "Several records there have this external id: merge them in the CRM.",
    "DUPLICATES_DETECTED": "A duplicate rule found another record: merge the two in the CRM, or give that one this "
    "external id.",
    "UNABLE_TO_LOCK_ROW": "Somebody else was writing the same parent. Nothing to do.",
    "INVALID_FIELD": "Most often its parent is not in the CRM. Where that one was refused, mend it: this one follows "
    "by itself, the next night.",
    "INVALID_CROSS_REFERENCE_KEY": _NO_PARENT,
    "ENTITY_IS_DELETED": "The record, or one that it refers to, is in the CRM's recycle bin: restore it there, or take "
    "its row out of the model.",
    "INSUFFICIENT_ACCESS_OR_READONLY": _NO_RIGHT,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": _NO_RIGHT,
    "INVALID_FIELD_FOR_INSERT_UPDATE": _NOT_WRITABLE,
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": "An automation of the CRM failed on it, and names itself: ask its owner.",
    "MALFORMED_ID": _NO_PARENT,
    # HubSpot
    "CONFLICT": _UNIQUE,
    "CONFLICTING_UNIQUE_VALUE": _UNIQUE,
    "INVALID_EMAIL": _NO_EMAIL,
    "INVALID_OPTION": _NO_OPTION,
    "INVALID_NUMBER": "Mend the number at its source.",
    "INVALID_PHONE_NUMBER": "Mend the phone number at its source, or let the model send none where it is none.",
    "PROPERTY_VALUE_TOO_LONG": _TOO_LONG,
    "PROPERTY_DOESNT_EXIST": "Create the property in HubSpot, or correct `crm_field`.",
    "READ_ONLY_VALUE": _NOT_WRITABLE,
    "OBJECT_NOT_FOUND": _NO_PARENT,
    # ours
    "PARENT_NOT_FOUND": _NO_PARENT,
}
"""Code -> what to do; ``INVALID_DATE`` is both CRMs'."""

GONE: Mapping[str, str] = {
    "report": "They are told every run: restore them in the CRM, take their rows out of the model, "
    "or say `deleted: recreate` or `deleted: forget` at the sync.",
    "recreate": "The next run creates them again, as the sync says with `deleted: recreate`.",
    "forget": "They are left alone until their rows have left the model, as the sync says with `deleted: forget`.",
}
"""A sync's ``deleted`` -> what becomes of records that somebody deleted in the CRM."""
