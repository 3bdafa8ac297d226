import pytest

# It is no test module by its name, and its assertions are to speak all the same.
pytest.register_assert_rewrite("tests.crm.contract")
