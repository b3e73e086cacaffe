"""The command line of the imitated release, with ComfyUI's own names: ``parser`` and ``args``.

Like ComfyUI's module of this name it parses when it is imported: ``sys.argv`` if
``comfy.options.enable_args_parsing()`` was called before, else nothing. It is executed on its own by
those who ask a ComfyUI what it accepts, so it imports little.
"""

from comfy_supervisor.comfyui.releases import argument_parser, nearest
from comfy_supervisor.standin.comfyui_version import __version__

from . import options

parser = argument_parser(nearest(__version__))
# The record of a release has no defaults; these are the ones that the stand-in goes by.
parser.set_defaults(port=8188, listen="127.0.0.1", enable_cors_header="", max_upload_size=100.0)
args = parser.parse_args(None if options.args_parsing else [])
