"""The edge's vocabulary: request, response, body, page, problem, principal. It knows HTTP and no context."""
