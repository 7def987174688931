"""An HTTP server of the tests' own, for what Mayfly calls."""

import http.server
import threading


class Endpoint(http.server.ThreadingHTTPServer):
    """An HTTP server of the test's own that notes requests and answers as told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.answers = [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        if self.path == "/token":
            status, answer = 200, b'{"access_token": "t0ken", "expires_in": 3600}'
        else:
            status, answer = (self.server.answers.pop(0) if self.server.answers else 200), b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass
