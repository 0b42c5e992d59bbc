"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from celantur_site import edge

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "celantur_site.settings")
edge.install()
application = edge.UsualCharsets(get_wsgi_application())
