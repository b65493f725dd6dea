"""The SMTP password of Amazon SES."""

import pytest

from app.services.check import ServiceValues, in_stored_form
from app.services.ses import ses_smtp_password

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("secret_access_key", "region", "password"),
    [
        # Published by HashiCorp's provider for AWS: TestSESSMTPPasswordFromSecretKeySigV4.
        ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
        ("another+secret+key", "eu-central-1", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"),
        ("some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
        ("another+secret+key", "us-west-1", "BKVmjjMDFk/qqw8EROW99bjCS65PF8WKvK5bSr4Y6EqF"),
    ],
)
def test_it_is_derived_as_published(secret_access_key: str, region: str, password: str) -> None:
    assert ses_smtp_password(secret_access_key, region) == password


def test_a_service_keeps_the_password_alone() -> None:
    values = ServiceValues(
        name="ses", provider="AMAZON_SES", region="eu-west-1", username="AKIA", ses_secret_access_key=SECRET
    )
    stored = in_stored_form(values)
    assert (stored.password, stored.ses_secret_access_key) == (ses_smtp_password(SECRET, "eu-west-1"), None)
    assert SECRET not in repr(values)
