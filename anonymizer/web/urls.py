"""The address of the page."""

from django.urls import path

from anonymizer.web.views import PageView

urlpatterns = [path("", PageView.as_view(), name="page")]
