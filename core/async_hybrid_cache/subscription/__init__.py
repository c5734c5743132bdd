"""Durable, typed subscriptions to the event stream."""

from .delivery import Delivery, Gap, Handler, SubscriptionEvent
from .subscription import Subscription

__all__ = ["Delivery", "Gap", "Handler", "Subscription", "SubscriptionEvent"]
